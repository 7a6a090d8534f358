"""The service: faces and expressions by HTTP. It takes `pip install "ferjax[serve]"`.

- `settings`: what a service is asked for, its limits among it; `addresses`: where it may listen.
- `refusals`: what is answered where a request is not done: a code, a sentence (RFC 9457).
- `tokens`, `gate`: who may ask, from where; what stands in front of every request.
- `bodies`, `multipart`, `options`: a request's pictures and options, read within limits.
- `pictures`, `computing`: decode, find faces, and classify those of many requests in batches.
- `app`, `answers`, `documents`, `metrics`, `page`: routes, what they say, OpenAPI, Prometheus, "/".
- `service`: a process's parts; `protocol`, `server`, `workers`: connections, one process, several;
  `logs`: what is logged.
"""

from __future__ import annotations

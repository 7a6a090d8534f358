"""From the archives in which face datasets circulate to batches on the device."""

/**
 * The faces beside the picture: each with its label and a bar for every class.
 *
 * Elements stay from frame to frame; their texts and widths change.
 *
 * @import { ReadFace } from "./reading.js"
 *
 * @typedef {object} Source what faces are cut out of, for their small pictures
 * @property {CanvasImageSource} image
 * @property {number} scale pixels of the image to one of the picture that the boxes are in
 */

import { make, part, setText } from "./elements.js";
import { drawCrop } from "./draw.js";
import { colourOf } from "./palette.js";
import { guess, percent, whole } from "./words.js";

const MOST = 24; // faces that are listed with bars; the table has all

/** @typedef {{bar: HTMLElement, share: HTMLElement, row: HTMLElement}} Bar */

class FaceCard {
  /** @param {string[]} labels */
  constructor(labels) {
    this.labels = labels;
    this.crop = make("canvas", { "aria-hidden": "true", width: "56", height: "56" });
    this.label = make("h3", { class: "face-label" });
    this.facts = make("p", { class: "face-facts" });
    /** @type {Bar[]} */
    this.bars = labels.map((label, index) => {
      const bar = make("span");
      bar.style.background = colourOf(index, labels);
      const share = make("span", { class: "share" });
      const name = make("span", { class: "name" }, label);
      const row = make(
        "li",
        {},
        name,
        make("span", { class: "bar", "aria-hidden": "true" }, bar),
        share,
      );
      return { bar, share, row };
    });
    const list = make("ul", { class: "bars" }, ...this.bars.map(({ row }) => row));
    this.element = make(
      "li",
      {},
      make("div", { class: "face-head" }, this.crop, this.label, this.facts),
      list,
    );
  }

  /**
   * @param {ReadFace} face
   * @param {Source} source
   * @param {boolean} several
   */
  show(face, source, several) {
    const number = several ? `${face.number}  ` : "";
    setText(this.label, `${number}${guess(face, this.labels)} ${percent(face.confidence)}`);
    const small = face.tooSmall ? ", too small to tell" : "";
    const [, , width, height] = face.box;
    setText(
      this.facts,
      `${whole(width)} × ${whole(height)} pixels, score ${face.score.toFixed(2)}${small}`,
    );
    this.facts.classList.toggle("too-small", face.tooSmall);
    face.probabilities.forEach((share, index) => {
      const { bar, share: words, row } = this.bars[index];
      bar.style.width = `${100 * share}%`;
      setText(words, percent(share));
      row.classList.toggle("said", index === face.index);
    });
    drawCrop(this.crop, source.image, face, source.scale);
  }
}

export class FaceList {
  /** @param {string[]} labels */
  constructor(labels) {
    this.labels = labels;
    /** @type {FaceCard[]} */
    this.cards = [];
    this.list = part("faces");
    this.note = part("no-faces");
    this.hint = this.note.textContent ?? "";
  }

  /**
   * Show the faces of a picture.
   *
   * @param {ReadFace[]} faces
   * @param {Source} source
   */
  show(faces, source) {
    const shown = faces.slice(0, MOST);
    while (this.cards.length < shown.length) this.cards.push(new FaceCard(this.labels));
    shown.forEach((face, index) => this.cards[index].show(face, source, faces.length > 1));
    const elements = this.cards.slice(0, shown.length).map(({ element }) => element);
    if (this.list.children.length !== elements.length) {
      this.list.replaceChildren(...elements);
      this.allowScrolling();
    }
    this.note.hidden = faces.length > 0 && faces.length <= MOST;
    setText(
      this.note,
      faces.length ? `And ${faces.length - MOST} more, in the table.` : "No face is seen.",
    );
  }

  /** Have the list be reached by Tab where there is something to scroll. */
  allowScrolling() {
    if (this.list.scrollHeight > this.list.clientHeight) this.list.tabIndex = 0;
    else this.list.removeAttribute("tabindex");
  }

  /** Show what the page shows before there is any picture. */
  clear() {
    this.list.replaceChildren();
    this.allowScrolling();
    this.note.hidden = false;
    setText(this.note, this.hint);
  }
}

import { Mask } from "./mask.js";

/**
 * The mask of a prompt, with the milliseconds that its request took and those of the server.
 * @typedef {{mask: Mask, ms: number, server: number | null}} Result
 */

/** @returns {Result} */
export function resultOf(answer) {
  const [object] = answer.objects;
  const mask = Mask.ofRle(object.rle, object.area ? object.score : null);
  return { mask, ms: answer.arrived - answer.asked, server: answer.server };
}

/** A mask from a file that nobody has corrected yet. */
export function untouched({ start, clicks, threshold, box }) {
  return (
    start !== null && !clicks.length && threshold === null && String(box) === String(start.box)
  );
}

/** The body of a request, see docs/api.md. */
export function requestFor(item, digest) {
  const [x1, y1, x2, y2] = item.box;
  const points = (label) => item.clicks.filter((c) => c.label === label).map((c) => [c.x, c.y]);
  const box = [
    [x1, y1],
    [x2, y2],
  ];
  return {
    image_sha256: digest,
    ...(untouched(item) ? {} : { obj_bbox: box }),
    pos_points: points(1),
    neg_points: points(0),
    ...(item.threshold === null ? {} : { threshold: item.threshold }),
    ...(item.start ? { mask_input: item.start.rle } : {}),
    output: ["objects"],
    form: "rle",
  };
}

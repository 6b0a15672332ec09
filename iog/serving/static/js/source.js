import { UNNAMED, largestId } from "./categories.js";
import { Mask } from "./mask.js";
import { edgesWithin } from "./rle.js";

/**
 * A COCO file, as far as an export of one of its photos keeps it.
 * @typedef {object} Source
 * @property {object} rest its other keys, such as `info` and `licenses`
 * @property {object} image the photo's
 * @property {{id: number, name: string}[]} categories
 * @property {number} images how many it has
 * @property {number} largest id of an annotation, of whatever photo
 *
 * @typedef {{label: string, mask: Mask | null, box: number[], row: object}} Found mask: null where
 *   the annotation has a box only
 */

/**
 * What a COCO file has for a photo.
 * @param {any} data parsed JSON
 * @param {{name: string, width: number, height: number}} photo
 * @returns {{source: Source, objects: Found[], lost: number}} with the number of annotations that
 *   have neither mask nor box
 * @throws {Error} with a sentence for the user
 */
export function read(data, photo) {
  if (!Array.isArray(data?.images) || !Array.isArray(data.annotations)) {
    throw new Error("This is not a COCO file: it has no lists `images` and `annotations`.");
  }
  const { images, annotations, categories = [], ...rest } = data;
  const image = imageFor(images, photo);
  const names = new Map(categories.map(({ id, name }) => [id, String(name)]));
  const rows = annotations.filter((row) => row.image_id === image.id);
  const objects = rows.flatMap((row) => {
    const name = names.get(row.category_id) ?? "";
    const mask = maskOf(row, photo);
    const box = mask?.box ?? boxOf(row, photo);
    const label = name === UNNAMED ? "" : name;
    return box ? [{ label, mask: mask?.box ? mask : null, box, row }] : [];
  });
  if (!objects.length) {
    throw new Error(`The COCO file has neither masks nor boxes for ${photo.name}.`);
  }
  const largest = largestId(annotations);
  const source = { rest, image, categories, images: images.length, largest };
  return { source, objects, lost: rows.length - objects.length };
}

function imageFor(images, { name, width, height }) {
  const base = (path) => String(path).split(/[\\/]/).at(-1);
  const sized = images.filter((image) => image.width === width && image.height === height);
  const named = images.filter((image) => base(image.file_name) === name);
  const image =
    named.find((candidate) => sized.includes(candidate)) ??
    (named.length ? null : sized.length === 1 ? sized[0] : null);
  if (image) return image;
  if (named.length) {
    const [{ width: w, height: h }] = named;
    throw new Error(
      `In the COCO file ${name} has ${w} x ${h} pixels, the photo has ${width} x ${height}.`,
    );
  }
  throw new Error(`The COCO file does not name ${name}.`);
}

/** The box of an annotation within the photo, or null. */
function boxOf({ bbox }, { width, height }) {
  if (!Array.isArray(bbox) || bbox.length !== 4 || !bbox.every(Number.isFinite)) return null;
  const [x, y, across, down] = bbox;
  const x1 = Math.max(0, x),
    y1 = Math.max(0, y);
  const x2 = Math.min(x + across, width),
    y2 = Math.min(y + down, height);
  return x2 - x1 >= 1 && y2 - y1 >= 1 ? [x1, y1, x2, y2] : null;
}

function maskOf({ segmentation, score }, { width, height }) {
  const size = [height, width];
  const known = typeof score === "number" ? score : null;
  if (Array.isArray(segmentation)) {
    const polygons = segmentation.filter((p) => Array.isArray(p) && p.length >= 6);
    return polygons.length ? filled(polygons, size, known) : null;
  }
  if (!segmentation?.counts) return null;
  if (String(segmentation.size) !== String(size)) {
    throw new Error(
      `A mask in the COCO file is ${segmentation.size}, the photo ${size} (height, width).`,
    );
  }
  return Mask.ofRle({ size, counts: segmentation.counts }, known);
}

/** Polygons as pixels: those that they cover by half or more. */
function filled(polygons, size, score) {
  const [height, width] = size;
  const xs = polygons.flatMap((p) => p.filter((_, i) => i % 2 === 0));
  const ys = polygons.flatMap((p) => p.filter((_, i) => i % 2 === 1));
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  const x0 = Math.max(0, Math.floor(least(xs))),
    y0 = Math.max(0, Math.floor(least(ys)));
  const x1 = Math.min(width, Math.ceil(most(xs))),
    y1 = Math.min(height, Math.ceil(most(ys)));
  if (x1 <= x0 || y1 <= y0) return null;
  const context = new OffscreenCanvas(x1 - x0, y1 - y0).getContext("2d", {
    willReadFrequently: true,
  });
  context.translate(-x0, -y0);
  for (const polygon of polygons) {
    context.beginPath();
    for (let i = 0; i + 1 < polygon.length; i += 2) context.lineTo(polygon[i], polygon[i + 1]);
    context.fill();
  }
  const { data } = context.getImageData(0, 0, x1 - x0, y1 - y0);
  const covered = (x, y) => data[4 * ((y - y0) * (x1 - x0) + x - x0) + 3] >= 128;
  return new Mask({ size, edges: edgesWithin(covered, [x0, y0, x1, y1], height), score });
}

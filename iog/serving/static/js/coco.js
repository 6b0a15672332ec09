import { COLOURS } from "./colours.js";
import { Mask } from "./mask.js";
import { areaOf, simplify } from "./outline.js";
import { edgesWithin } from "./rle.js";

/**
 * A COCO data set of one photo.
 * @param {{name: string, width: number, height: number}} photo
 * @param {{label: string, mask: Mask}[]} objects with masks that are not empty
 * @param {number | null} tolerance of polygons in pixels; null for RLE
 */
export function cocoOf(photo, objects, tolerance) {
  const names = [...new Set(objects.map(({ label }) => label || "object"))];
  return {
    images: [{ id: 1, file_name: photo.name, width: photo.width, height: photo.height }],
    categories: names.map((name, i) => ({ id: i + 1, name })),
    annotations: objects.map(({ label, mask }, i) => ({
      id: i + 1,
      image_id: 1,
      category_id: names.indexOf(label || "object") + 1,
      segmentation: tolerance === null ? mask.rle : polygonsOf(mask, tolerance),
      area: mask.area,
      bbox: [mask.box[0], mask.box[1], mask.box[2] - mask.box[0], mask.box[3] - mask.box[1]],
      iscrowd: 0,
      ...(mask.score === null ? {} : { score: mask.score }),
    })),
  };
}

/** Outlines as COCO has them, without holes, which its polygons cannot say. */
export function polygonsOf(mask, tolerance) {
  const loops = mask.loops.filter((loop) => areaOf(loop) > 0);
  const polygons = loops.map((loop) => simplify(loop, tolerance)).filter((loop) => loop.length);
  // A mask so small that nothing is left keeps its exact outline.
  return polygons.length ? polygons : loops.map((loop) => Array.from(loop));
}

/** How many holes polygons leave out. */
export const holesOf = (mask) => mask.loops.filter((loop) => areaOf(loop) < 0).length;

/**
 * The objects that a COCO file has for a photo.
 * @param {any} data parsed JSON
 * @param {{name: string, width: number, height: number}} photo
 * @returns {{label: string, mask: Mask}[]}
 * @throws {Error} with a sentence for the user
 */
export function objectsFor(data, photo) {
  if (!Array.isArray(data?.images) || !Array.isArray(data.annotations)) {
    throw new Error("This is not a COCO file: it has no lists `images` and `annotations`.");
  }
  const image = imageFor(data.images, photo);
  const names = new Map((data.categories ?? []).map(({ id, name }) => [id, String(name)]));
  const rows = data.annotations.filter((row) => row.image_id === image.id);
  const objects = rows.flatMap((row) => {
    const mask = maskOf(row, photo);
    return mask?.box ? [{ label: names.get(row.category_id) ?? "", mask }] : [];
  });
  if (!objects.length) throw new Error(`The COCO file has no masks for ${photo.name}.`);
  return objects;
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

/** Colours for so many more objects, in turn. */
export function coloursFor(count, used) {
  const names = [...COLOURS.keys()];
  return Array.from({ length: count }, (_, i) => names[(used + i) % names.length]);
}

import { UNNAMED, largestId } from "./categories.js";
import { areaOf, simplify } from "./outline.js";

/**
 * A COCO data set of one photo.
 * @param {{name: string, width: number, height: number}} photo
 * @param {{item: import("./session.js").Item, mask: import("./mask.js").Mask}[]} objects with masks
 *   that are not empty
 * @param {import("./session.js").Session} session
 * @param {number | null} tolerance of polygons in pixels; null for RLE
 */
export function cocoOf(photo, objects, session, tolerance) {
  const { source } = session;
  const { width, height } = photo;
  const image = { id: 1, file_name: photo.name, ...source?.image, width, height };
  // An object keeps the category that it had in the file, until its label is changed.
  const keeps = ({ from, label }) => from?.source === source && from?.label === label && source;
  const labels = objects.filter(({ item }) => !keeps(item)).map(({ item }) => nameOf(item));
  const categories = session.categories.of(labels, source?.categories ?? []);
  const ids = idsOf(
    objects.map(({ item }) => item),
    session,
  );
  const annotations = objects.map(({ item, mask }) => {
    const [x1, y1, x2, y2] = mask.box;
    const ours = {
      id: ids.get(item),
      image_id: image.id,
      category_id: keeps(item)
        ? item.from.row.category_id
        : categories.find(({ name }) => name === nameOf(item)).id,
      segmentation: tolerance === null ? mask.rle : polygonsOf(mask, tolerance),
      area: mask.area,
      bbox: [x1, y1, x2 - x1, y2 - y1],
    };
    const score = mask.score === null ? {} : { score: mask.score };
    return { ...ours, iscrowd: 0, ...item.from?.row, ...ours, ...score };
  });
  return { ...source?.rest, images: [image], categories, annotations };
}

const nameOf = ({ label }) => label || UNNAMED;

/** The annotations' ids: those of the file, those of exports before, and new ones above them. */
function idsOf(items, { source, written }) {
  const ids = new Map();
  const give = (item, id) => {
    if (id !== undefined && ![...ids.values()].includes(id)) ids.set(item, id);
  };
  for (const item of items) {
    if (source && item.from?.source === source) give(item, item.from.row.id);
  }
  const before = [...written].filter(([, entry]) => entry.source === source);
  const rows = new Map(before.map(([id, { row }]) => [id, row]));
  for (const item of items) if (!ids.has(item)) give(item, rows.get(item.id)?.id);
  let largest = Math.max(source?.largest ?? 0, largestId([...rows.values()]));
  for (const item of items) if (!ids.has(item)) ids.set(item, ++largest);
  return ids;
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

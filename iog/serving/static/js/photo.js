import { sha256 } from "./digest.js";

/** Pixels a side above which a smaller copy is drawn where the photo is shown small. */
const LARGE = 1600;

/**
 * @typedef {object} Photo
 * @property {string} name of the file
 * @property {Blob} blob what the server gets
 * @property {string} digest SHA-256 of the blob
 * @property {number} width upright, as it is shown
 * @property {number} height
 * @property {ImageBitmap[]} levels the photo, then copies of half the size of the one before
 */

/**
 * @param {File} file
 * @returns {Promise<Photo>}
 * @throws {Error} with a sentence for the user
 */
export async function openPhoto(file) {
  let bitmap;
  try {
    // Turned as EXIF says, which the server does as well.
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(unreadable(file));
  }
  const digest = await sha256(await file.arrayBuffer());
  const { width, height } = bitmap;
  return { name: file.name, blob: file, digest, width, height, levels: await halved(bitmap) };
}

/** The photo as the browser shows it, for a server that reads the file's orientation differently. */
export async function repacked(photo) {
  const canvas = new OffscreenCanvas(photo.width, photo.height);
  canvas.getContext("2d").drawImage(photo.levels[0], 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return { blob, digest: await sha256(await blob.arrayBuffer()) };
}

async function halved(bitmap) {
  const levels = [bitmap];
  for (let last = bitmap; Math.max(last.width, last.height) > LARGE; last = levels.at(-1)) {
    const resizeWidth = Math.ceil(last.width / 2),
      resizeHeight = Math.ceil(last.height / 2);
    levels.push(
      await createImageBitmap(last, { resizeWidth, resizeHeight, resizeQuality: "medium" }),
    );
  }
  return levels;
}

function unreadable(file) {
  const format = /\.(tiff?|jp2|j2k|jpx|hei[cf]|dng|nef|cr2|arw|psd|pdf)$/i.exec(file.name)?.[1];
  return format
    ? `Your browser cannot show ${format.toUpperCase()} files. Save ${file.name} as JPEG or PNG and open that.`
    : `Your browser cannot read ${file.name || "this file"} as a photo.`;
}

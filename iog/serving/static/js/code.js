import { requestFor, untouched } from "./prompt.js";
import { address } from "./server.js";

/** The lines for a terminal that give the mask on screen. */
export function curlFor(item, photo) {
  const { output, form, ...prompt } = requestFor(item, photo.digest);
  const body = JSON.stringify({ ...prompt, output, form });
  return [
    `curl -sS -T ${quoted(photo.name)} ${quoted(address(`images/${photo.digest}`))}`,
    `curl -sS -H 'Content-Type: application/json' \\\n  -d ${quoted(body)} \\\n  ${quoted(address(""))}`,
  ].join("\n");
}

/** The lines for Python that give the mask on screen. */
export function pythonFor(item, photo, model) {
  const points = (click) => `(${click.x}, ${click.y})`;
  const list = (values) => `[${values.join(", ")}]`;
  const prompt = [
    !untouched(item) && `    box=(${item.box.join(", ")}),`,
    item.clicks.length && `    point_coords=${list(item.clicks.map(points))},`,
    item.clicks.length && `    point_labels=${list(item.clicks.map((click) => click.label))},`,
    item.start && `    mask_input=${JSON.stringify(item.start.rle)},`,
    item.threshold !== null && `    threshold=${item.threshold},`,
  ];
  return [
    "import iog",
    "",
    `model = iog.load(${JSON.stringify(model ?? "iog-lite")})`,
    `model.set_image(${JSON.stringify(photo.name)})`,
    "mask = model.predict(",
    ...prompt.filter(Boolean),
    ")",
    "print(mask.array.shape, mask.box, mask.area, mask.score)",
  ].join("\n");
}

/** A word for a POSIX shell. */
const quoted = (text) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/** Colours of objects, light enough to be seen on a photo; green and red belong to clicks. */
export const COLOURS = new Map([
  ["Blue", "#3d8bff"],
  ["Orange", "#ff9326"],
  ["Pink", "#f05bb5"],
  ["Yellow", "#f5cf2b"],
  ["Violet", "#9a6bff"],
  ["Cyan", "#20c7d9"],
  ["White", "#f4f6fa"],
  ["Brown", "#b5794a"],
]);

/** The colour that the fewest objects have. */
export function nextColour(items) {
  const uses = (name) => items.filter((item) => item.colour === name).length;
  return [...COLOURS.keys()].reduce((best, name) => (uses(name) < uses(best) ? name : best));
}

/** Colours for so many more objects, in turn. */
export function coloursFor(count, used) {
  const names = [...COLOURS.keys()];
  return Array.from({ length: count }, (_, i) => names[(used + i) % names.length]);
}

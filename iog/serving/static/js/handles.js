/** CSS pixels: half the side of a handle, and the radius of a click. */
export const HANDLE = 5;
export const CLICK = 8;

/** Where the handles of a box are on the screen, and which of its sides each moves. */
export function handlesOf([x1, y1, x2, y2], viewport) {
  const a = viewport.toScreen(x1, y1),
    b = viewport.toScreen(x2, y2);
  const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  const corners = [
    { x: a.x, y: a.y, sides: [0, 1], cursor: "nwse" },
    { x: b.x, y: a.y, sides: [2, 1], cursor: "nesw" },
    { x: b.x, y: b.y, sides: [2, 3], cursor: "nwse" },
    { x: a.x, y: b.y, sides: [0, 3], cursor: "nesw" },
  ];
  // A small box has no room for those between the corners.
  const across = b.x - a.x > 60,
    down = b.y - a.y > 60;
  if (across)
    corners.push(
      { x: middle.x, y: a.y, sides: [1], cursor: "ns" },
      { x: middle.x, y: b.y, sides: [3], cursor: "ns" },
    );
  if (down)
    corners.push(
      { x: a.x, y: middle.y, sides: [0], cursor: "ew" },
      { x: b.x, y: middle.y, sides: [2], cursor: "ew" },
    );
  return corners;
}

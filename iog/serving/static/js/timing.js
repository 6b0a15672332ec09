const KEPT = 500;
const counts = new Map();

/**
 * Leaves a `performance.measure` from what the user did to the frame that shows its mask.
 * Its detail has milliseconds: `server`; `network`, from the request to the whole answer; `work`,
 * from there to the drawn canvas; `page`, from there to the frame on the screen.
 */
export function measured(name, start, detail) {
  const drawn = performance.now();
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    // A message comes after the frame that was about to be painted.
    port1.onmessage = () => {
      port1.close();
      const { arrived = drawn, asked = arrived, server = null, cached = false } = detail;
      const end = performance.now();
      const count = (counts.get(name) ?? 0) + 1;
      if (count % KEPT === 0) performance.clearMeasures(name);
      counts.set(name, count);
      performance.measure(name, {
        start,
        end,
        detail: {
          server,
          network: arrived - asked,
          work: drawn - arrived,
          page: end - arrived,
          cached,
        },
      });
    };
    port2.postMessage(null);
  });
}

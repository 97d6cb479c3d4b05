// One view update a frame. Owns the waiting between something that happened and its showing.
// Promises: however often it is asked, the work runs once per frame; in a hidden tab, which has no frames, now and then.

const HIDDEN_MS = 500;

export function oncePerFrame(work: () => void): { ask(): void; cancel(): void } {
  let cancelAsked: (() => void) | null = null;
  const run = () => {
    cancelAsked = null;
    work();
  };
  return {
    ask() {
      if (cancelAsked) return;
      if (document.hidden) {
        const timer = setTimeout(run, HIDDEN_MS);
        cancelAsked = () => clearTimeout(timer);
      } else {
        const frame = requestAnimationFrame(run);
        cancelAsked = () => cancelAnimationFrame(frame);
      }
    },
    cancel() {
      cancelAsked?.();
      cancelAsked = null;
    },
  };
}

// Every icon, drawn on 16 × 16 in the colour of the text around it. Owns shapes only; words stand beside them.
// `stroke` shapes are lines, `fill` shapes are areas.

export interface Shape {
  stroke?: string;
  fill?: string;
  /** Dashes of the line, for what is not there yet. */
  dashed?: boolean;
}

const RING = 'M8 1.75a6.25 6.25 0 1 1 0 12.5a6.25 6.25 0 1 1 0-12.5z';
const DISC = 'M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14z';

export const ICONS: Record<string, Shape[]> = {
  // States
  dots: [{ stroke: RING, dashed: true }],
  clock: [{ stroke: `${RING}M8 4.5V8l2.4 1.6` }],
  play: [{ stroke: RING }, { fill: 'M6.4 5.1v5.8L11.2 8z' }],
  pause: [{ stroke: `${RING}M6.25 5.5v5M9.75 5.5v5` }],
  check: [{ fill: `${DISC}M7.2 11.1L12 6.3l-1.05-1.05L7.2 9 5.3 7.1 4.25 8.15z` }],
  cross: [{ fill: `${DISC}M5.9 4.85L4.85 5.9 6.95 8l-2.1 2.1 1.05 1.05L8 9.05l2.1 2.1 1.05-1.05L9.05 8l2.1-2.1-1.05-1.05L8 6.95z` }],
  half: [{ stroke: RING }, { fill: 'M8 1.75a6.25 6.25 0 0 1 0 12.5z' }],
  slash: [{ stroke: `${RING}M3.8 12.2l8.4-8.4` }],
  skip: [{ stroke: 'M3 4l4 4-4 4M8.5 4l4 4-4 4' }],
  // The rest
  runs: [{ stroke: 'M2 4h5M2 8h9M2 12h6' }, { fill: 'M9 2.9h5v2.2H9zM13 6.9h1.5v2.2H13zM10 10.9h4.5v2.2H10z' }],
  evidence: [{ stroke: 'M8 2l5 2v4c0 3-2 5-5 6-3-1-5-3-5-6V4zM5.5 8l2 2 3-3.5' }],
  search: [{ stroke: 'M7 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9zM10.4 10.4l3.6 3.6' }],
  help: [{ stroke: `${RING}M6.1 6.2a1.95 1.95 0 1 1 2.9 1.7c-.6.35-1 .7-1 1.4` }, { fill: 'M7.3 10.9h1.4v1.4H7.3z' }],
  menu: [{ stroke: 'M2 4.5h12M2 8h12M2 11.5h12' }],
  close: [{ stroke: 'M3.5 3.5l9 9M12.5 3.5l-9 9' }],
  copy: [{ stroke: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3' }],
  done: [{ stroke: 'M3 8.5l3.2 3.2L13 4.9' }],
  down: [{ stroke: 'M8 2.5v8M4.5 7L8 10.5 11.5 7M3 13.5h10' }],
  left: [{ stroke: 'M10 3L5 8l5 5' }],
  right: [{ stroke: 'M6 3l5 5-5 5' }],
  up: [{ stroke: 'M3 10l5-5 5 5' }],
  under: [{ stroke: 'M3 6l5 5 5-5' }],
  plus: [{ stroke: 'M8 3v10M3 8h10' }],
  minus: [{ stroke: 'M3 8h10' }],
  fit: [{ stroke: 'M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10' }],
  wrap: [{ stroke: 'M2 4h12M2 8h9.5a2.25 2.25 0 0 1 0 4.5H8M9.8 10.7L8 12.5l1.8 1.8M2 12.5h3' }],
  follow: [{ stroke: 'M8 2v8.5M4.5 7.2L8 10.7l3.5-3.5M3 14h10' }],
  link: [{ stroke: 'M6.8 9.2l2.4-2.4M7.5 4.8l1.6-1.6a2.6 2.6 0 0 1 3.7 3.7l-1.6 1.6M8.5 11.2l-1.6 1.6a2.6 2.6 0 0 1-3.7-3.7l1.6-1.6' }],
  raw: [{ stroke: 'M5.5 4L2 8l3.5 4M10.5 4L14 8l-3.5 4' }],
  lock: [{ stroke: 'M3.5 7.5h9v6h-9zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5' }],
  unlock: [{ stroke: 'M3.5 7.5h9v6h-9zM5.5 7.5V5a2.5 2.5 0 0 1 4.7-1.2' }],
  out: [{ stroke: 'M6 2.5H3v11h3M10 4.5L13.5 8 10 11.5M13 8H6.5' }],
  warn: [{ stroke: 'M8 2.2l6.2 11.3H1.8zM8 6.2v3.6' }, { fill: 'M7.3 10.9h1.4v1.4H7.3z' }],
};

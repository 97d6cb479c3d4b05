// Weighs the built console, compressed as it travels, and fails above its budget.
// Core is what every visit loads; a route is what opening it adds; nothing is counted twice. Says what to run when dist/ is old.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const KIB = 1024;
const CORE_MAX = 30 * KIB;
const ROUTE_MAX = 30 * KIB;
const TOTAL_MAX = 180 * KIB;

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
if (!existsSync(join(dist, '.manifest.json'))) stop('There is no dist/. Run: npm run build');

const newest = Math.max(...readdirSync(join(root, 'src'), { recursive: true }).map((name) => statSync(join(root, 'src', name)).mtimeMs));
if (statSync(join(dist, '.stamp')).mtimeMs < newest) stop('dist/ is older than src/. Run: npm run build');

const manifest = JSON.parse(readFileSync(join(dist, '.manifest.json'), 'utf8'));
const weight = (file) => statSync(join(dist, `${file}.gz`)).size;

/** What loading one chunk loads: itself, its styles, and what it imports at once. */
function filesOf(key, files = new Set(), seen = new Set()) {
  if (seen.has(key)) return files;
  seen.add(key);
  const chunk = manifest[key];
  files.add(chunk.file);
  for (const css of chunk.css ?? []) files.add(css);
  for (const imported of chunk.imports ?? []) filesOf(imported, files, seen);
  return files;
}

const entry = Object.keys(manifest).find((key) => manifest[key].isEntry);
const core = new Set([...filesOf(entry), 'index.html']);
const sum = (files) => [...files].reduce((total, file) => total + weight(file), 0);
const rows = [['core', sum(core), CORE_MAX]];
const everything = new Set(core);

for (const key of Object.keys(manifest).filter((key) => manifest[key].isDynamicEntry).sort()) {
  const files = [...filesOf(key)].filter((file) => !core.has(file));
  for (const file of files) everything.add(file);
  rows.push([key.replace(/^src\//, ''), sum(files), ROUTE_MAX]);
}
rows.push(['whole console', sum(everything), TOTAL_MAX]);

let over = false;
for (const [name, bytes, most] of rows) {
  const mark = bytes > most ? 'OVER' : 'ok';
  over ||= bytes > most;
  console.log(`${name.padEnd(28)} ${(bytes / KIB).toFixed(1).padStart(6)} of ${(most / KIB).toFixed(0).padStart(3)} KiB  ${mark}`);
}
if (over) stop('The console is over its budget.');

function stop(why) {
  console.error(why);
  process.exit(1);
}

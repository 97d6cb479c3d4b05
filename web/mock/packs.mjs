// The packs that the mock knows, written as a simulation needs them: how long each step takes, what it prints, how it ends.
// Owns invention only; nothing here is how the real server works.

const words = ['usr', 'lib', 'x86_64', 'share', 'doc', 'python3', 'perl5', 'systemd', 'locale', 'zoneinfo', 'cert', 'kernel', 'modules', 'firmware'];

/** The same text for the same number, so that pictures of the console can be compared. */
export function scatter(seed) {
  let state = (seed * 2654435761) >>> 0;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822507) + 0x9e3779b9) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}

const path = (random) => `/${Array.from({ length: 2 + Math.floor(random() * 3) }, () => words[Math.floor(random() * words.length)]).join('/')}`;
const hex = (random, length) => Array.from({ length }, () => Math.floor(random() * 16).toString(16)).join('');

function lines(count, make) {
  return (random) => Array.from({ length: count }, (_, index) => make(index, random));
}

const digests = (count) => lines(count, (_, random) => `${hex(random, 64)}  ${path(random)}`);
const packages = (count) => lines(count, (_, random) => `lib${words[Math.floor(random() * words.length)]}-${Math.floor(random() * 90)}\t${Math.floor(random() * 9)}.${Math.floor(random() * 30)}.${Math.floor(random() * 9)}-${Math.floor(random() * 4)}+deb12u1`);
const progress = (count, what) =>
  lines(count, (index, random) => {
    const roll = random();
    if (roll < 0.06) return { stream: 'stderr', line: `\x1b[33mwarning:\x1b[0m ${path(random)}: permission denied, skipped` };
    if (roll < 0.5) return `\x1b[2m${String(Math.round(((index + 1) / count) * 100)).padStart(3)}%\x1b[0m ${what} \x1b[36m${path(random)}\x1b[0m`;
    return `\x1b[32mok\x1b[0m   ${what} ${path(random)} (${Math.floor(random() * 4000)} files)`;
  });

const HOSTILE = [
  '<script>document.title = "owned"</script><img src=x onerror="document.title=\'owned\'">',
  '\x1b]0;owned\x07\x1b]8;;javascript:alert(1)\x07a link that is none\x1b]8;;\x07',
  '\x1b[2J\x1b[H\x1b[999Dclears the screen, moves the cursor',
  'invoice\u202Efdp.exe turns text around',
  '\x1b[30;40mblack on black\x1b[0m \x1b[37;47mwhite on white\x1b[0m \x1b[8mhidden\x1b[0m shown',
  'nul \x00 bell \x07 backspace \x08 escape at the end \x1b',
  '\x1b]an escape without an end swallows nothing after it',
  '%s%n {{constructor.constructor("alert(1)")()}} ${7*7}',
  'progress 10%\rprogress 100%',
  'wide 漢字かな한글 and 🚧 emoji',
  '\x1b[1mbold\x1b[0m \x1b[2mdim\x1b[0m \x1b[3mitalic\x1b[0m \x1b[4munderline\x1b[0m \x1b[7minverse\x1b[0m \x1b[9mstruck\x1b[0m',
  Array.from({ length: 8 }, (_, index) => `\x1b[3${index}mcolour ${index}\x1b[0m`).join(' ') + ' ' + Array.from({ length: 8 }, (_, index) => `\x1b[4${index}m ground ${index} \x1b[0m`).join(' '),
  '\x1b[38;5;208mtable 208\x1b[0m \x1b[38;2;120;200;90mtrue colour\x1b[0m',
  'x'.repeat(3_000) + ' the end of a long line',
];

/** `fails`: how many attempts fail. `ms`: how long an attempt runs. */
export const PACKS = [
  {
    name: 'host-inventory',
    version: 4,
    description: 'What is installed here, and what is it made of',
    inputs: { root: { type: 'string', default: '/usr/bin', description: 'The folder whose files are digested' }, hosts: { type: 'list', default: [] }, depth: { type: 'integer', default: 2 } },
    steps: [
      { id: 'facts', needs: [], ms: 1_400, print: lines(14, (index, random) => `fact ${index}: ${path(random)} ${Math.floor(random() * 1e6)}`) },
      { id: 'packages', needs: [], ms: 3_200, print: packages(120), artifacts: [['packages.tsv', 'text/tab-separated-values', 18_342]] },
      { id: 'kernel', needs: ['facts'], ms: 2_100, print: progress(20, 'module') },
      { id: 'sockets', needs: ['facts'], ms: 1_700, print: progress(12, 'socket') },
      { id: 'digest', needs: ['packages'], ms: 7_800, fails: 1, print: digests(260), artifacts: [['digests.txt', 'text/plain', 241_904]] },
      { id: 'certificates', needs: ['packages', 'facts'], ms: 3_900, print: progress(34, 'certificate') },
      { id: 'compare', needs: ['digest', 'kernel'], ms: 4_600, print: progress(60, 'compare') },
      { id: 'report', needs: ['compare', 'certificates', 'sockets'], ms: 2_400, print: lines(24, (index) => `section ${index + 1} written`), artifacts: [['report.html', 'text/html', 88_120], ['report.json', 'application/json', 31_007]] },
      { id: 'cleanup', needs: ['report'], ms: 600, always: true, print: lines(2, () => 'removed scratch') },
    ],
  },
  {
    name: 'image-scan',
    version: 11,
    description: 'Unpacks an image and looks for what should not be in it',
    inputs: { image: { type: 'string', description: 'Path of the image archive' }, strict: { type: 'boolean', default: true } },
    steps: [
      { id: 'fetch', needs: [], ms: 1_800, print: progress(18, 'layer') },
      { id: 'unpack', needs: ['fetch'], ms: 2_600, print: progress(40, 'unpack') },
      { id: 'secrets', needs: ['unpack'], ms: 3_400, print: progress(26, 'secret') },
      { id: 'licences', needs: ['unpack'], ms: 2_900, print: progress(30, 'licence') },
      { id: 'signatures', needs: ['unpack'], ms: 2_200, fails: 9, retries: 2, error: ['exit', 'gpgv: BAD signature from key 7A1D 02FF on layer 3 of 9'], print: (random) => [...progress(14, 'signature')(random), { stream: 'stderr', line: '\x1b[1;31merror:\x1b[0m gpgv: BAD signature from key 7A1D 02FF on layer 3 of 9' }] },
      { id: 'verdict', needs: ['secrets', 'licences', 'signatures'], ms: 900, print: lines(3, () => 'verdict') },
      { id: 'quarantine', needs: ['verdict'], ms: 900, print: lines(3, () => 'moved') },
      { id: 'cleanup', needs: ['verdict'], ms: 500, always: true, print: lines(2, () => 'removed scratch') },
    ],
  },
  {
    name: 'firmware-release',
    version: 2,
    description: 'Builds, checks and releases firmware once two people agree',
    inputs: { tag: { type: 'string', default: 'v2.8.1' } },
    steps: [
      { id: 'build', needs: [], ms: 5_200, print: progress(80, 'compile') },
      { id: 'test', needs: ['build'], ms: 4_100, print: progress(50, 'test') },
      { id: 'sbom', needs: ['build'], ms: 1_300, print: packages(60), artifacts: [['sbom.spdx.json', 'application/spdx+json', 412_331]] },
      { id: 'approve', needs: ['test', 'sbom'], gate: true },
      { id: 'publish', needs: ['approve'], ms: 1_000, print: lines(4, () => 'published') },
    ],
  },
  {
    name: 'wide-scan',
    version: 1,
    description: 'One check for each of many hosts',
    inputs: { hosts: { type: 'list', default: [] } },
    steps: [
      { id: 'list', needs: [], ms: 400, print: lines(5, (index) => `rack ${index}`) },
      ...Array.from({ length: 300 }, (_, index) => ({ id: `per-host[${index}]`, needs: ['list'], ms: 900 + (index % 17) * 80, fails: index === 171 ? 9 : 0, retries: 0, error: ['timeout', 'host 171 did not answer within 5 s'], print: lines(3, (line) => `host ${index}: check ${line} passed`) })),
      { id: 'merge', needs: Array.from({ length: 300 }, (_, index) => `per-host[${index}]`), ms: 800, always: true, print: lines(12, (index) => `merged block ${index}`) },
    ],
  },
  {
    name: 'log-flood',
    version: 1,
    description: 'Prints a hundred thousand lines',
    inputs: { lines: { type: 'integer', default: 100_000 } },
    steps: [{ id: 'flood', needs: [], ms: 20_000, print: lines(100_000, (index, random) => `${String(index).padStart(6, '0')} ${hex(random, 32)} ${path(random)}${index % 9_973 === 0 ? ' needle' : ''}`) }],
  },
  {
    name: 'hostile-output',
    version: 1,
    description: 'Prints what a terminal should not obey',
    inputs: {},
    steps: [{ id: 'print', needs: [], ms: 900, print: () => HOSTILE }],
  },
];

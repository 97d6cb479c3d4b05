// How the console is built. Owns what leaves in dist/: hashed assets, their compressed twins and the stamp of the sources.
// Promises: no inline script or style, no asset from elsewhere, the same sources give the same files.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

const root = import.meta.dirname;

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/**
 * SHA-256 over `path NUL length NUL content` of each source, sorted by the bytes of its path below web/ (written with `/`).
 * The build script of the binary computes the same and refuses a release with an older console.
 */
export function stampOf(folder: string): string {
  const paths = ['package-lock.json', 'package.json', 'index.html', 'tsconfig.json', 'vite.config.ts'].map((name) => join(folder, name));
  const named = [...paths, ...filesUnder(join(folder, 'src'))].map((path) => ({
    path,
    name: Buffer.from(relative(folder, path).split(sep).join('/')),
  }));
  const hash = createHash('sha256');
  for (const { path, name } of named.sort((a, b) => Buffer.compare(a.name, b.name))) {
    const content = readFileSync(path);
    hash.update(name).update(`\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** The modules of the first visit. What of the runtime only pages use stays with them. */
const CORE =
  /src\/(app\/(?!resource|times|clock)|api\/(client|problem)|live\/status|look\/(Icon|icons|Mark)|shell\/(Shell|Sidebar|Topbar|Links|Switches|Connection|NotFound|palette\.ts))|preload-helper|rolldown\/runtime|node_modules\/svelte\/(?!.*(bindings\/(?!this)|blocks\/(key|snippet)|elements\/(style|actions|attachments)|legacy))|node_modules\/clsx/;

/** Keeps the first paint until the theme is known, where the browser can; a bare page for a frame elsewhere. */
function blockFirstPaint(): Plugin {
  return {
    name: 'fastness-block-first-paint',
    transformIndexHtml: { order: 'post', handler: (html) => html.replace('<script type="module"', '<script blocking="render" type="module"') },
  };
}

/** Writes the .br and .gz twins that the server picks by Accept-Encoding, and the stamp. */
function finish(): Plugin {
  let folder = '';
  return {
    name: 'fastness-finish',
    apply: 'build',
    configResolved: (config) => void (folder = join(config.root, config.build.outDir)),
    closeBundle() {
      for (const path of filesUnder(folder).filter((path) => /\.(js|css|html|svg)$/.test(path))) {
        const content = readFileSync(path);
        writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
        writeFileSync(
          `${path}.br`,
          brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length } }),
        );
      }
      writeFileSync(join(folder, '.stamp'), stampOf(root));
    },
  };
}

export default defineConfig({
  plugins: [svelte({ compilerOptions: { runes: true } }), blockFirstPaint(), finish()],
  build: {
    manifest: '.manifest.json',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    sourcemap: false,
    rolldownOptions: {
      // The runtime's modules do nothing but define; saying so leaves out those that no page uses (custom elements, old modes).
      treeshake: { moduleSideEffects: [{ test: /node_modules\/svelte\//, sideEffects: false }] },
      // What every visit loads travels as one file: many small ones compress worse.
      output: { codeSplitting: { groups: [{ name: 'core', test: CORE }] } },
    },
  },
  server: { proxy: { '/api': process.env['BASE_URL'] ?? 'http://127.0.0.1:8421' } },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});

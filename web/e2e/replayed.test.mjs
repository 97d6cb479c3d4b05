// A replayed bundle in a real browser: a real server makes a run, its bundle is exported, `replay-bundle --serve` shows it.
// Everything can be read there, nothing that writes is offered, and nothing that writes works. Needs FASTNESS_BIN.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ask, isOurs, newPage, signIn, startBrowser, startReplayed, startServer } from './browser.mjs';

const AXE = readFileSync(join(import.meta.dirname, '../node_modules/axe-core/axe.min.js'), 'utf8');
const RUN_MS_MAX = 60_000;
/** Nothing of these is there to be pressed: neither a button nor a link, in view or disabled. */
const ACTS = /^(Start a run|Start run|Start…|Cancel run|Cancel…|Pause|Resume|Retry|Export a bundle|Export|Approve…|Reject…|Download .*)$/;
let browser;
let source;
let shown;
let folder;
let run;

before(async () => {
  if (!isOurs) return;
  folder = mkdtempSync(join(tmpdir(), 'fastness-e2e-'));
  source = await startServer();
  run = await makeRun();
  await source.call('export', '--with', 'artifacts,logs', '--out', join(folder, 'bundle'));
  for (const role of ['log', 'export']) writeFileSync(join(folder, `${role}.pem`), await source.call('key', 'show', role, '--pem'));
  shown = await startReplayed(join(folder, 'bundle'), join(folder, 'log.pem'), join(folder, 'export.pem'));
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await shown?.stop();
  await source?.stop();
  if (folder) rmSync(folder, { recursive: true });
});

async function asToken(server, path, method = 'GET', body = undefined, type = 'application/json') {
  const response = await fetch(`${server.url}/api/v1${path}`, { method, headers: { Authorization: `Bearer ${server.token}`, ...(body ? { 'Content-Type': type } : {}) }, body });
  return { status: response.status, body: await response.json() };
}

/** One run to its end, with a log and an artifact; its id. */
async function makeRun() {
  await asToken(source, '/packs', 'POST', readFileSync(join(import.meta.dirname, 'pack.yaml')), 'application/yaml');
  const { body } = await asToken(source, '/pack-runs', 'POST', JSON.stringify({ pack: 'console-e2e', inputs: {} }));
  const began = performance.now();
  for (;;) {
    const { status } = (await asToken(source, `/pack-runs/${body.id}`)).body;
    if (status === 'completed') return body.id;
    assert.ok(performance.now() - began < RUN_MS_MAX, status);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Signs in at the replayed bundle on a page of its own, does the work, then looks for faults. */
async function onReplayed(work, { path = '/', context: options = {} } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  try {
    const { page, faults } = await newPage(context, shown);
    await signIn(page, shown, path);
    await work(page);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

/** The names of what could be pressed and would write. */
async function offered(page) {
  const names = await page.locator('button, a, [role=button], [role=menuitem], [role=option]').evaluateAll((parts) => parts.map((part) => (part.getAttribute('aria-label') ?? part.textContent).trim()));
  return names.filter((name) => ACTS.test(name));
}

/** A picture for a person to look at, where SHOTS names a folder. */
async function shoot(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `replayed-${name}.png`) });
}

describe('a replayed bundle', { skip: !isOurs && 'it takes a program that exports and replays' }, () => {
  test('lists its runs, says that it can only be read, and offers nothing that writes', () =>
    onReplayed(async (page) => {
      await page.locator(`a[href^="/runs/${run}"]`).waitFor();
      await page.getByText('Read only').first().waitFor();
      assert.match(await page.locator('.side').innerText(), /foreign:[0-9a-f]{16}\/default/);
      assert.equal(await page.locator('tbody tr').count(), 1);
      await page.locator('tbody .state', { hasText: 'Completed' }).first().waitFor();
      assert.deepEqual(await offered(page), []);
      await shoot(page, 'runs');
      // Not by key, not by palette either.
      for (const key of ['n', 's', 'e', 'c']) await page.keyboard.press(key);
      assert.equal(await page.getByRole('dialog').count(), 0);
      await page.keyboard.press('Control+k');
      await page.getByRole('combobox').waitFor();
      assert.deepEqual(await offered(page), []);
      await shoot(page, 'palette');
    }));

  test('shows a run: graph, Gantt chart, a step, and where log and artifacts are', () =>
    onReplayed(
      async (page) => {
        await page.locator('header .state', { hasText: 'Completed' }).waitFor();
        await page.waitForFunction(() => document.querySelectorAll('.node[data-status=completed]').length === 4);
        assert.deepEqual(await offered(page), []);
        await shoot(page, 'graph');
        await page.locator('.node[data-name=right]').click();
        await page.getByRole('complementary').getByRole('heading', { level: 2 }).waitFor();
        assert.deepEqual(await offered(page), []);
        await shoot(page, 'step');
        await page.getByRole('link', { name: 'Gantt' }).click();
        await page.locator('.span.running').first().waitFor();
        assert.equal(await page.locator('.span.open').count(), 0);
        await shoot(page, 'gantt');
        await page.getByRole('link', { name: 'Log' }).first().click();
        await page.getByText('What this run printed is not held here').waitFor();
        assert.equal(await page.getByText('This run printed nothing').count(), 0);
        assert.deepEqual(await offered(page), []);
        await shoot(page, 'log');
        await page.getByRole('link', { name: 'Artifacts' }).click();
        const row = page.getByRole('row').filter({ hasText: 'right.txt' });
        await row.getByText('in the bundle').waitFor();
        assert.deepEqual(await offered(page), []);
        await shoot(page, 'artifacts');
      },
      { path: `/runs/${run}` },
    ));

  test('says under Evidence whose ledger it is, with no act on it', () =>
    onReplayed(
      async (page) => {
        await page.getByText('Nothing of it can be changed').waitFor();
        await page.getByRole('region', { name: /^Imported/ }).getByRole('listitem').first().waitFor();
        assert.deepEqual(await offered(page), []);
        await shoot(page, 'evidence');
      },
      { path: '/evidence' },
    ));

  test('has every event of its source, byte for byte, and the same run', () =>
    onReplayed(async (page) => {
      const [theirs, ours] = [(await asToken(source, '/events?limit=500')).body, await ask(page, '/events?limit=500')];
      assert.ok(ours.items.length > 20 && ours.items.some(({ type }) => type === 'run.completed'));
      assert.deepEqual(ours.items, theirs.items.slice(0, ours.items.length));
      assert.deepEqual(await ask(page, `/pack-runs/${run}`), (await asToken(source, `/pack-runs/${run}`)).body);
    }));

  test('refuses whatever would change it, with the page’s own session and with the token', () =>
    onReplayed(async (page) => {
      const before = await ask(page, '/ledger/state');
      const acts = [
        ['POST', '/pack-runs', { pack: 'console-e2e', inputs: {} }],
        ['POST', `/pack-runs/${run}/cancel`, { reason: 'tried by a test' }],
        ['POST', '/jobs', { type: 'x.work' }],
        ['POST', '/packs', {}],
        ['POST', '/bundles/export', {}],
        ['POST', '/tokens', { name: 'x', person: 'x', scopes: ['orch:read'] }],
        ['POST', '/keys/log/rotate', {}],
        ['DELETE', '/secrets/none', {}],
      ];
      for (const [method, path, body] of acts) {
        const refused = await page.evaluate(
          async ([how, where, what]) => {
            const { csrfToken } = await (await fetch('/api/v1/session')).json();
            const response = await fetch(`/api/v1${where}`, { method: how, headers: { 'X-Fastness-Csrf': csrfToken, 'Content-Type': 'application/json' }, body: JSON.stringify(what) });
            return { status: response.status, code: (await response.json()).code };
          },
          [method, path, body],
        );
        assert.deepEqual(refused, { status: 409, code: 'foreign_read_only' }, `${method} ${path}`);
        const { status, body: problem } = await asToken(shown, path, method, JSON.stringify(body));
        assert.deepEqual([status, problem.code], [409, 'foreign_read_only'], `${method} ${path} with the token`);
      }
      assert.deepEqual(await ask(page, '/ledger/state'), before);
    }));

  for (const width of [1440, 390]) {
    test(`axe finds nothing, ${width} px`, () =>
      onReplayed(
        async (page) => {
          for (const path of ['/runs', `/runs/${run}`, `/runs/${run}?tab=log`, `/runs/${run}?tab=artifacts`, '/evidence']) {
            await page.goto(shown.url + path);
            await page.getByRole('heading', { level: 1 }).first().waitFor();
            await page.getByText('Read only').and(page.locator(':visible')).first().waitFor();
            await page.waitForTimeout(400);
            await page.evaluate(AXE);
            const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
            assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(' | ')}`), [], path);
            await shoot(page, `${width}${path.replaceAll(/[/?=]/g, '-').replace(run, 'run')}`);
          }
        },
        // Axe is injected, which the console's own policy rightly forbids.
        { context: { viewport: { width, height: width < 600 ? 844 : 900 }, bypassCSP: true, reducedMotion: 'reduce' } },
      ));
  }

  test('ends with its program, and leaves nothing behind', async () => {
    await shown.stop();
    await assert.rejects(fetch(shown.url));
    const again = await startReplayed(join(folder, 'bundle'), join(folder, 'log.pem'), join(folder, 'export.pem'));
    assert.notEqual(again.token, shown.token, 'a token of its own each time');
    shown = again;
  });
});

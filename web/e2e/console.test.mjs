// The console in a real browser against a real server, or against the mock. See browser.mjs for how to choose.
// Each test ends by asking that nothing went to another origin, no CSP report was made and no script failed.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ask, isMock, isOurs, newPage, signIn, startBrowser, startServer } from './browser.mjs';

const PACK = isMock ? 'host-inventory' : 'console-e2e';
const RUN_MS_MAX = 60_000;
const AXE = readFileSync(join(import.meta.dirname, '../node_modules/axe-core/axe.min.js'), 'utf8');
let server;
let browser;

before(async () => {
  server = await startServer({ SPEED: '2' });
  browser = await startBrowser();
  if (!isMock) await asToken('POST', '/packs', readFileSync(join(import.meta.dirname, 'pack.yaml')), 'application/yaml');
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** As a client outside the browser, with the token. */
async function asToken(method, path, body, type = 'application/json') {
  const response = await fetch(`${server.url}/api/v1${path}`, { method, headers: { Authorization: `Bearer ${server.token}`, ...(body ? { 'Content-Type': type } : {}) }, body });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${response.ok ? '' : await response.text()}`);
  return response.status === 204 ? null : response.json();
}

const start = async (pack = PACK, inputs = {}) => (await asToken('POST', '/pack-runs', JSON.stringify({ pack, inputs }))).id;

/** Signs in on a page of its own, does the work, and then looks for faults. */
async function onPage(work, { path = '/', context: options = {}, expected = () => false } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  try {
    const { page, faults } = await newPage(context, server);
    await signIn(page, server, path);
    await work(page, context);
    assert.deepEqual(faults.filter((fault) => !expected(fault)), []);
  } finally {
    await context.close();
  }
}

const until = (page, check, argument, timeout = 15_000) => page.waitForFunction(check, argument, { timeout });
const positions = (page) => page.locator('[data-pos]').evaluateAll((rows) => rows.map((row) => Number(row.dataset.pos)));

describe('signing in', () => {
  test('a wrong token is refused with its code, and the page says where the right one is', async () => {
    const context = await browser.newContext();
    const { page, faults } = await newPage(context, server);
    await page.goto(server.url);
    await page.getByText('admin.token').first().waitFor();
    await page.getByLabel('Access token').fill('not-the-token');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('unauthenticated').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  test('one ends where one wanted to go, and signing out ends it', () =>
    onPage(
      async (page) => {
        await page.getByRole('heading', { name: 'Runs' }).waitFor();
        assert.equal(new URL(page.url()).search, '?status=failed');
        await page.getByRole('button', { name: 'Sign out' }).click();
        await page.getByLabel('Access token').waitFor();
      },
      { path: '/runs?status=failed' },
    ));
});

describe('the frame', () => {
  test('nothing sticks out of the side bar', () =>
    onPage(async (page) => {
      const out = await page.locator('.side').evaluate((side) => {
        const right = side.getBoundingClientRect().right;
        return [...side.querySelectorAll('button, span, strong')]
          .filter((part) => part.getBoundingClientRect().right > right - 1)
          .map((part) => part.textContent);
      });
      assert.deepEqual(out, []);
    }));
});

describe('runs', () => {
  test('a run started elsewhere is listed at once, without a reload', () =>
    onPage(async (page) => {
      await page.getByText('Live', { exact: true }).first().waitFor();
      await page.mouse.move(5, 5);
      const started = performance.now();
      const id = await start();
      await page.locator(`a[href^="/runs/${id}"]`).waitFor();
      const took = performance.now() - started;
      console.log(`row after ${Math.round(took)} ms`);
      assert.ok(took < 3_000);
    }));

  test('rows do not move under the pointer: a pill announces what is new', () =>
    onPage(async (page) => {
      await start();
      await page.locator('tbody tr').first().waitFor();
      await page.getByText('Live', { exact: true }).first().waitFor();
      await page.locator('tbody tr').first().hover();
      const id = await start();
      const pill = page.getByRole('button', { name: /\d+ new/ });
      await pill.waitFor();
      assert.equal(await page.locator(`a[href^="/runs/${id}"]`).count(), 0);
      await pill.click();
      await page.locator(`a[href^="/runs/${id}"]`).waitFor();
    }));

  test('the filter stands in the address, and Back leads out of it', () =>
    onPage(async (page) => {
      await page.getByRole('group', { name: 'State' }).getByRole('button', { name: 'Completed' }).click();
      await until(page, () => location.search === '?status=completed');
      await until(page, () => [...document.querySelectorAll('tbody .state')].every((cell) => cell.textContent.trim() === 'Completed'));
      await page.reload();
      await page.getByRole('group', { name: 'State' }).getByRole('button', { name: 'Completed', pressed: true }).waitFor();
    }));

  test('j and k move, Enter opens', () =>
    onPage(async (page) => {
      await start();
      await start();
      await page.locator('tbody tr').nth(1).waitFor();
      await page.keyboard.press('j');
      await page.keyboard.press('j');
      await page.keyboard.press('k');
      const href = await page.evaluate(() => document.activeElement.getAttribute('href'));
      assert.match(href, /^\/runs\/[0-9a-f-]+$/);
      await page.keyboard.press('Enter');
      await until(page, (path) => location.pathname === path, href);
      await page.getByRole('navigation', { name: 'Views of this run' }).waitFor();
    }));

  test('a run is started from the dialog', () =>
    onPage(async (page) => {
      await page.getByRole('button', { name: 'Start a run' }).click();
      const select = page.getByLabel('Pack', { exact: true });
      await select.waitFor();
      const option = await select.locator('option', { hasText: PACK }).first().getAttribute('value');
      await select.selectOption(option);
      await page.getByRole('button', { name: 'Start run' }).click();
      await until(page, () => /^\/runs\/.+/.test(location.pathname));
      await page.getByRole('heading', { level: 1, name: PACK }).waitFor();
    }));
});

describe('a run', () => {
  test('is watched to its end: states, graph, Gantt, log, without a reload', () =>
    onPage(async (page) => {
      const id = await start();
      await page.goto(`${server.url}/runs/${id}`);
      await page.locator('.node[data-status=running]').first().waitFor();
      await page.evaluate(() => (globalThis.notReloaded = true));
      await page.getByRole('link', { name: 'Log' }).first().click();
      await page.locator('[data-pos]').first().waitFor();
      await page.getByText('Following').waitFor();
      await page.locator('header .state', { hasText: 'Completed' }).waitFor({ timeout: RUN_MS_MAX });
      await page.getByRole('link', { name: 'Graph' }).first().click();
      await until(page, () => [...document.querySelectorAll('.node')].every((node) => node.dataset.status === 'completed'));
      await page.getByRole('link', { name: 'Gantt' }).click();
      await page.locator('.span.running').first().waitFor();
      assert.equal(await page.locator('.span.open').count(), 0);
      assert.equal(await page.evaluate(() => globalThis.notReloaded), true);
      await page.getByRole('link', { name: 'Artifacts' }).click();
      const link = page.getByRole('link', { name: /^Download / }).first();
      assert.match(await link.getAttribute('href'), /^\/api\/v1\/artifacts\/[0-9a-f]{64}$/);
    }));

  test('its log is whole, and in order', () =>
    onPage(async (page) => {
      const id = await start();
      await page.goto(`${server.url}/runs/${id}?tab=log`);
      await page.locator('header .state', { hasText: 'Completed' }).waitFor({ timeout: RUN_MS_MAX });
      const text = await (await fetch(`${server.url}/api/v1/pack-runs/${id}/logs`, { headers: { Authorization: `Bearer ${server.token}` } })).text();
      const kept = text.trim().split('\n').map((line) => JSON.parse(line));
      await until(page, (count) => document.querySelector('section[aria-label=Log] footer').textContent.includes(`${count.toLocaleString('en-US')} line`), kept.length);
      const shown = await positions(page);
      assert.ok(shown.length > 0 && shown.length <= 200);
      assert.deepEqual(shown, [...shown].sort((a, b) => a - b));
      assert.equal(new Set(shown).size, shown.length);
    }));

  test('is reached and read by keyboard alone', () =>
    onPage(async (page) => {
      const id = await start();
      await page.keyboard.press('Control+k');
      await page.getByRole('combobox').fill(id);
      await page.keyboard.press('Enter');
      await page.locator('.node').first().waitFor();
      const first = page.locator('.node[tabindex="0"]');
      await first.focus();
      const before = await first.getAttribute('data-name');
      await page.keyboard.press('ArrowRight');
      await until(page, (name) => document.activeElement?.dataset.name && document.activeElement.dataset.name !== name, before);
      await page.keyboard.press('Enter');
      await until(page, () => new URLSearchParams(location.search).get('step') === document.activeElement.dataset.name);
      await page.getByRole('complementary').getByRole('heading', { level: 2 }).waitFor();
      await page.keyboard.press('3');
      await until(page, () => new URLSearchParams(location.search).get('tab') === 'log');
      await page.getByRole('region', { name: 'Lines' }).waitFor();
      await page.keyboard.press('?');
      await page.getByRole('dialog', { name: 'Keyboard and states' }).waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('g');
      await page.keyboard.press('r');
      await until(page, () => location.pathname === '/runs');
    }));

  test('is cancelled only with a reason', () =>
    onPage(async (page) => {
      const id = await start();
      await page.goto(`${server.url}/runs/${id}`);
      await page.getByRole('button', { name: 'Cancel run' }).click();
      const dialog = page.getByRole('dialog');
      const confirm = dialog.getByRole('button', { name: 'Cancel run' });
      assert.equal(await confirm.isDisabled(), true);
      await dialog.getByLabel('Reason').fill('tried by a test');
      await confirm.click();
      await page.locator('header .state', { hasText: 'Cancelled' }).waitFor({ timeout: RUN_MS_MAX });
      assert.equal(await page.getByRole('button', { name: 'Cancel run' }).count(), 0);
    }));

  test('that is not there says so, with code and trace id', () =>
    onPage(
      async (page) => {
        await page.getByRole('alert').getByText('not_found').waitFor();
        await page.getByRole('link', { name: 'All runs' }).click();
        await page.getByRole('heading', { name: 'Runs' }).waitFor();
      },
      { path: '/runs/01900000-0000-7000-8000-000000000000' },
    ));

  test('shows its times in the zone of the address', () =>
    onPage(async (page) => {
      const id = await start();
      await page.goto(`${server.url}/runs/${id}`);
      const time = page.locator('header time').first();
      const utc = await time.textContent();
      await page.getByRole('button', { name: 'Local' }).click();
      await until(page, () => location.search.includes('zone=local'));
      await until(page, (text) => document.querySelector('header time').textContent !== text, utc);
      await page.getByRole('link', { name: 'Runs' }).first().click();
      await until(page, () => location.pathname === '/runs' && location.search.includes('zone=local'));
    }, { context: { timezoneId: 'Asia/Kathmandu' } }));
});

describe('evidence', () => {
  test('a bundle of the ledger is exported, listed and downloaded', () =>
    onPage(async (page) => {
      await start();
      await page.keyboard.press('g');
      await page.keyboard.press('e');
      await page.getByRole('heading', { level: 1, name: 'Evidence' }).waitFor();
      await page.getByRole('button', { name: 'Export a bundle' }).click();
      const dialog = page.getByRole('dialog', { name: 'Export a bundle' });
      await dialog.getByLabel('Last event').fill('3');
      await dialog.getByRole('button', { name: 'Export' }).click();
      await dialog.getByText('The bundle of events 0 to 3 is signed').waitFor({ timeout: RUN_MS_MAX });
      const coming = page.waitForEvent('download');
      await dialog.getByRole('link', { name: 'Download' }).click();
      const download = await coming;
      assert.match(download.suggestedFilename(), /\.tar\.zst$/);
      assert.ok(readFileSync(await download.path()).length > 0);
      await page.keyboard.press('Escape');
      await page.getByRole('cell', { name: 'events 0 to 3', exact: true }).waitFor();
    }));
});

describe('streams', () => {
  test('a run is watched over a restart of the server, without a reload', { skip: !isOurs && 'the server is not ours to end' }, () =>
    onPage(async (page) => {
      // Short steps: the server waits for the one that runs before it ends, and the others are left for the one after it.
      const steps = Array.from({ length: 10 }, (_, index) => `    - id: s${index}\n${index > 0 ? `      needs: [s${index - 1}]\n` : ''}      shell: for i in 1 2 3; do echo $i; sleep 0.3; done\n`);
      await asToken('POST', '/packs', `apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: many-steps}\nspec:\n  steps:\n${steps.join('')}`, 'application/yaml');
      const id = await start('many-steps');
      await page.goto(`${server.url}/runs/${id}?tab=log`);
      await page.locator('[data-pos]').first().waitFor();
      await page.evaluate(() => (globalThis.notReloaded = true));
      await server.end();
      await page.getByText('Connection to the server lost.').waitFor();
      await server.again();
      // Sessions do not outlast the server; the page stays where it was.
      await page.getByText('Your session has ended.').waitFor();
      await page.getByLabel('Access token').fill(server.token);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.locator('[data-pos]').first().waitFor();
      const before = (await positions(page)).length;
      // It goes on while one looks, and is not just read at its end.
      await until(page, (count) => document.querySelectorAll('[data-pos]').length > count, before);
      assert.equal(await page.locator('header .state', { hasText: 'Running' }).count(), 1);
      await page.locator('header .state', { hasText: 'Completed' }).waitFor({ timeout: RUN_MS_MAX });
      await until(page, (count) => document.querySelectorAll('[data-pos]').length === count, 3 * steps.length);
      assert.deepEqual(await positions(page), Array.from({ length: 3 * steps.length }, (_, index) => index + 1));
      assert.equal(await page.evaluate(() => globalThis.notReloaded), true);
      assert.equal(new URL(page.url()).pathname, `/runs/${id}`);
    }));

  test('tabs of one browser share one stream', () =>
    onPage(async (page, context) => {
      const id = await start();
      let streams = 0;
      context.on('request', (request) => request.url().includes('/stream/pack-runs/') && (streams += 1));
      await page.goto(`${server.url}/runs/${id}`);
      await page.getByText('Live', { exact: true }).first().waitFor();
      const others = await Promise.all([1, 2, 3].map(() => context.newPage()));
      for (const other of others) await other.goto(`${server.url}/runs/${id}`);
      for (const other of others) await other.locator('header .state', { hasText: 'Completed' }).waitFor({ timeout: RUN_MS_MAX });
      await page.locator('header .state', { hasText: 'Completed' }).waitFor();
      console.log(`${streams} stream requests for 4 tabs`);
      assert.ok(streams <= 4, `${streams} streams`);
    }));
});

describe('axe finds nothing', () => {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1440, 390]) {
      test(`${colorScheme}, ${width} px`, async () => {
        // Axe is injected, which the console's own policy rightly forbids.
        const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true, reducedMotion: 'reduce' });
        const { page } = await newPage(context, server);
        const check = async (what) => {
          await page.waitForTimeout(400);
          await page.evaluate(AXE);
          const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
          const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary.replaceAll('\n', ' ')}`).slice(0, 3).join(' | ')}`);
          assert.deepEqual(told, [], what);
        };
        await page.goto(server.url);
        await page.getByLabel('Access token').waitFor();
        await check('sign-in');
        await signIn(page, server);
        const id = await start();
        await page.locator('tbody tr').first().waitFor();
        await check('runs');
        await page.keyboard.press('Control+k');
        await page.getByRole('combobox').waitFor();
        await check('palette');
        await page.keyboard.press('Escape');
        await page.keyboard.press('?');
        await page.getByRole('dialog').waitFor();
        await check('help');
        await page.keyboard.press('Escape');
        await page.getByRole('button', { name: 'Start a run' }).click();
        await page.getByLabel('Pack', { exact: true }).waitFor();
        await check('start');
        const { items } = await ask(page, '/pack-runs?limit=100');
        const failed = items.find(({ status }) => status === 'partially_failed');
        for (const run of [id, ...(failed ? [failed.id] : [])]) {
          const { steps } = await ask(page, `/pack-runs/${run}`);
          const step = (steps.find(({ status }) => status === 'failed') ?? steps[0]).id;
          for (const tab of ['graph', 'gantt', 'log', 'artifacts']) {
            await page.goto(`${server.url}/runs/${run}?tab=${tab}`);
            await page.getByRole('navigation', { name: 'Views of this run' }).waitFor();
            await check(tab);
            if (tab === 'log' || tab === 'artifacts') continue;
            await page.goto(`${server.url}/runs/${run}?tab=${tab}&step=${step}`);
            await page.getByRole('complementary').getByRole('heading', { level: 2 }).waitFor();
            await check(`${tab} with a step`);
          }
        }
        if (width === 390) {
          await page.getByRole('button', { name: 'Menu' }).click();
          await page.getByRole('dialog', { name: 'Menu' }).waitFor();
          await check('menu');
        }
        await context.close();
      });
    }
  }
});

// What only a server that breaks on purpose can show: runs against the mock, whatever the other tests run against.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, newPage, signIn, startBrowser, startMock } from './browser.mjs';

describe('against the mock', () => {
  let server;
  let browser;
  let context;
  let page;
  let faults;

  before(async () => {
    server = await startMock({ SPEED: '2' });
    browser = await startBrowser();
    context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    ({ page, faults } = await newPage(context, server));
    await signIn(page, server);
  });

  after(async () => {
    assert.deepEqual(faults, []);
    await browser?.close();
    server?.stop();
  });

  const control = async (path) => (await (await fetch(`${server.url}/__mock/${path}`)).json()).done;
  const runOf = async (pack) => (await ask(page, `/pack-runs?limit=1&pack=${pack}`)).items[0].id;
  const lines = () => page.locator('section[aria-label=Log] footer').textContent();

  test('a server that goes away and comes back: an amber bar, acts wait, nothing is lost or doubled', async () => {
    const id = await control('start');
    await page.goto(`${server.url}/runs/${id}?tab=log`);
    await page.locator('[data-pos]').first().waitFor();
    await control('down?ms=4000');
    await page.getByText('Connection to the server lost.').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Cancel run' }).isDisabled(), true);
    await page.getByText('Connection to the server lost.').waitFor({ state: 'detached', timeout: 20_000 });
    await page.locator('header .state', { hasText: 'Completed' }).waitFor({ timeout: 40_000 });
    const text = await page.evaluate(async (run) => (await fetch(`/api/v1/pack-runs/${run}/logs`)).text(), id);
    const kept = text.trim().split('\n').length;
    await page.waitForFunction((count) => document.querySelector('section[aria-label=Log] footer').textContent.includes(`${count} lines`), kept, { timeout: 10_000 });
  });

  test('cut streams and a gap in one run: its last state is right', async () => {
    const id = await control('start');
    await page.goto(`${server.url}/runs/${id}`);
    for (let cut = 0; cut < 4; cut += 1) {
      await page.waitForTimeout(700);
      await control(cut === 2 ? 'gap?from=2&to=3&of=lines' : 'cut');
    }
    await page.locator('header .state', { hasText: 'Completed' }).waitFor({ timeout: 60_000 });
    await page.waitForFunction(() => [...document.querySelectorAll('.node')].every((node) => node.dataset.status === 'completed'));
  });

  test('lines that are lost leave a mark in the log', async () => {
    const id = await control('start');
    await page.goto(`${server.url}/runs/${id}?tab=log`);
    await page.locator('[data-pos]').first().waitFor();
    await page.waitForTimeout(1_500);
    await control('gap?from=900000000&to=900000003&of=lines');
    await page.getByText('Lines may have been lost here').waitFor();
  });

  test('100,000 lines: at most 200 rows stand in the document, search and links find theirs, no frame is long', async () => {
    const id = await runOf('log-flood');
    await page.goto(`${server.url}/runs/${id}?tab=log`);
    await page.getByText('100,000 lines').waitFor({ timeout: 30_000 });
    await page.evaluate(() => {
      globalThis.longest = 0;
      new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => (globalThis.longest = Math.max(globalThis.longest, duration)))).observe({ entryTypes: ['longtask'] });
    });
    const scroller = page.getByRole('region', { name: 'Lines' });
    for (let part = 0; part <= 20; part += 1) {
      await scroller.evaluate((element, share) => (element.scrollTop = element.scrollHeight * share), part / 20);
      await page.waitForTimeout(30);
      assert.ok((await page.locator('[data-pos]').count()) <= 200);
    }
    console.log(`longest task while scrolling: ${Math.round(await page.evaluate(() => globalThis.longest))} ms`);
    assert.equal(await page.locator('[data-pos]').last().getAttribute('data-pos'), '99999');
    await page.getByLabel('Search the log').fill('needle');
    await page.getByText(/^1 of 11$|^\d+ of 11$/).waitFor();
    await page.keyboard.press('Enter');
    await page.locator('mark', { hasText: 'needle' }).first().waitFor();
    await page.goto(`${server.url}/runs/${id}?tab=log&line=54321`);
    await page.locator('.linked[data-pos="54321"]').waitFor({ timeout: 30_000 });
    const box = await page.locator('.linked').boundingBox();
    assert.ok(box.y > 100 && box.y < 900);
  });

  test('following stops on scrolling up and resumes at the end', async () => {
    const id = await control('start');
    await page.goto(`${server.url}/runs/${id}?tab=log`);
    await page.getByText('Following').waitFor();
    await page.waitForFunction(() => document.querySelectorAll('[data-pos]').length > 40);
    const scroller = page.getByRole('region', { name: 'Lines' });
    await scroller.hover();
    await page.mouse.wheel(0, -400);
    await page.getByText('Stopped').waitFor();
    await page.mouse.wheel(0, 1_000_000);
    await page.getByText('Following').waitFor();
  });

  test('hostile lines are text and nothing else', async () => {
    const id = await runOf('hostile-output');
    await page.goto(`${server.url}/runs/${id}?tab=log`);
    await page.getByText('<script>document.title').waitFor();
    assert.equal(await page.title(), 'hostile-output · Run · Fastness');
    assert.equal(await page.locator('section[aria-label=Log] :is(img, script, iframe, b)').count(), 0);
    assert.equal(await page.locator('.text a').count(), 0);
    assert.match(await page.locator('[data-pos="3"] .text').textContent(), /invoice<202E>fdp\.exe/);
    await page.getByRole('button', { name: 'Wrap' }).click();
    await page.getByText('the end of a long line').waitFor();
    const rows = await page.locator('[data-pos="13"]').count();
    assert.ok(rows > 10, `${rows} rows`);
    await page.getByRole('button', { name: 'Wrap' }).click();
  });

  test('a fan-out of 300 is one node, which leads to the member that failed', async () => {
    await page.goto(`${server.url}/runs/${await runOf('wide-scan')}`);
    await page.locator('.node').first().waitFor();
    assert.equal(await page.locator('.node').count(), 3);
    await page.locator('.node[data-name=per-host]').click();
    await page.getByRole('complementary').getByRole('heading', { name: 'per-host[171]' }).waitFor();
    await page.goto(`${page.url()}&tab=gantt`);
    await page.locator('.row').first().waitFor();
    assert.ok((await page.locator('.row').count()) < 80);
  });

  test('a session that ends elsewhere ends here, and says so', async () => {
    await page.goto(`${server.url}/runs`);
    await page.locator('tbody tr').first().waitFor();
    await control('forget');
    await control('start');
    await page.getByText('Your session has ended.').waitFor({ timeout: 20_000 });
    await page.getByLabel('Access token').fill(server.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator('tbody tr').first().waitFor();
  });

  test('an empty server shows the commands that fill it', async () => {
    const empty = await startMock({ EMPTY: '1' });
    const other = await newPage(await browser.newContext(), empty);
    await signIn(other.page, empty);
    await other.page.getByText('fastness pack push').waitFor();
    await fetch(`${empty.url}/__mock/start`);
    await other.page.locator('tbody tr').first().waitFor();
    assert.deepEqual(other.faults, []);
    empty.stop();
  });
});

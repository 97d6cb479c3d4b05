// Evidence in a real browser, against the mock: its orders and imports stand in every state, which no fresh server has.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ask, newPage, signIn, startBrowser, startMock } from './browser.mjs';

const AXE = readFileSync(join(import.meta.dirname, '../node_modules/axe-core/axe.min.js'), 'utf8');
let browser;

before(async () => {
  browser = await startBrowser();
});

after(() => browser?.close());

/** A server and a page of its own, the work, then a look for faults. */
async function onEvidence(work, { server: environment = {}, context: options = {}, path = '/evidence' } = {}) {
  const server = await startMock(environment);
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  try {
    const { page, faults } = await newPage(context, server);
    await signIn(page, server, path);
    await work(page, server);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    server.stop();
  }
}

const section = (page, name) => page.getByRole('region', { name });
const entry = (page, name) => page.getByRole('listitem', { name });
const orders = async (page) => (await ask(page, '/work-orders')).items;
const short = ({ id }) => `…${id.slice(-8)}`;
const of = async (page, order) => entry(page, `Work order ${short(order)}`);

async function confirm(page, button, reason) {
  const dialog = page.getByRole('dialog');
  const act = dialog.getByRole('button', { name: button });
  if (reason) {
    assert.equal(await act.isDisabled(), true, 'without a reason');
    await dialog.getByLabel('Reason').fill('   ');
    assert.equal(await act.isDisabled(), true, 'with a reason of spaces');
    await dialog.getByLabel('Reason').fill(reason);
  }
  await act.click();
  await dialog.waitFor({ state: 'detached' });
}

describe('bundles', () => {
  test('are listed and downloaded; g e leads here, and the side bar says so', () =>
    onEvidence(
      async (page) => {
        await page.locator('tbody tr').first().waitFor();
        await page.keyboard.press('g');
        await page.keyboard.press('e');
        await page.getByRole('heading', { level: 1, name: 'Evidence' }).waitFor();
        assert.equal(await page.getByRole('link', { name: 'Evidence' }).getAttribute('aria-current'), 'page');
        await section(page, /^Bundles/).locator('tbody tr').first().waitFor();
        assert.deepEqual(await section(page, /^Bundles/).locator('td.range').allTextContents(), ['events 0 to 9,309', 'events 4,712 to 9,309', 'events 0 to 4,711']);
        await page.getByText('2 missing').waitFor();
        const waiting = page.waitForEvent('download');
        await page.getByRole('link', { name: 'Download the bundle of events 4,712 to 9,309' }).click();
        const download = await waiting;
        assert.match(download.suggestedFilename(), /^a1b2c3d4e5f60718-default-4712-9310\.audit\.tar\.zst$/);
        assert.equal(readFileSync(await download.path(), 'utf8'), 'bundle of the mock\n');
      },
      { path: '/runs' },
    ));

  test('are exported from the dialog: what is wrong is said, what is refused is shown, what was made is listed', () =>
    onEvidence(async (page) => {
      await page.getByRole('heading', { level: 1, name: 'Evidence' }).waitFor();
      await page.locator('td.range').first().waitFor();
      await page.keyboard.press('e');
      const dialog = page.getByRole('dialog', { name: 'Export a bundle' });
      await dialog.getByRole('button', { name: 'Go on from 9,310' }).click();
      await dialog.getByRole('button', { name: 'Export' }).click();
      await dialog.getByRole('alert').getByText('range_invalid').waitFor();
      await dialog.getByLabel('First event').fill('40');
      await dialog.getByLabel('Last event').fill('12');
      await dialog.getByRole('button', { name: 'Export' }).click();
      await dialog.getByText('Not before the first event.').waitFor();
      await dialog.getByLabel('Last event').fill('99');
      await dialog.getByRole('checkbox', { name: /^Artifacts/ }).check();
      await dialog.getByText('fastness export --from 40 --to 100 --with artifacts', { exact: true }).waitFor();
      const policy = dialog.getByLabel('Redacted fields');
      assert.deepEqual(await policy.getByRole('option').allTextContents(), ['withhold all of them', 'show what the policy auditor names', 'show all of them']);
      await policy.selectOption('auditor');
      await dialog.getByText('fastness export --from 40 --to 100 --with artifacts --redaction auditor', { exact: true }).waitFor();
      await dialog.getByRole('button', { name: 'Export' }).click();
      await dialog.getByText('The bundle of events 40 to 99 is signed').waitFor();
      await dialog.getByText('It shows 2 of 3 redacted fields').waitFor();
      const { items } = await ask(page, '/bundles');
      const made = items.find(({ first, size }) => first === 40 && size === 100);
      assert.equal(await dialog.getByRole('link', { name: 'Download' }).getAttribute('href'), `/api/v1/bundles/${made.id}/content`);
      await page.keyboard.press('Escape');
      await page.getByRole('cell', { name: 'events 40 to 99', exact: true }).waitFor();
      await page.getByText('shows 2 of 3 redacted fields').waitFor();
      await page.setViewportSize({ width: 390, height: 844 });
      await page.getByText('shows 2 of 3 redacted fields').waitFor();
    }));

  test('beyond a handful are shown when they are asked for, and the address says so', () =>
    onEvidence(
      async (page) => {
        await page.locator('td.range').first().waitFor();
        assert.equal(await page.locator('td.range').count(), 8);
        await page.getByRole('link', { name: 'Show all 17' }).click();
        await page.waitForFunction(() => document.querySelectorAll('td.range').length === 17 && location.search === '?all=bundles');
      },
      { server: { MANY: '1' } },
    ));
});

describe('imports', () => {
  test('stand in their states, what waits first; whoever brought one may not approve it', () =>
    onEvidence(async (page) => {
      const imported = section(page, /^Imported/);
      await imported.getByRole('listitem').first().waitFor();
      assert.deepEqual(await imported.locator('li .state .word').allTextContents(), ['Waiting', 'Waiting', 'Refused', 'Refused', 'Held', 'Rejected']);
      await imported.getByText('Another history than the one held: event 4,096 is another than the one held').waitFor();
      await imported.getByText('Rejected by mara: nobody here knows this enclave').waitFor();
      const own = imported.getByRole('listitem').filter({ hasText: 'You brought it' });
      assert.equal(await own.getByRole('button', { name: 'Approve…' }).isDisabled(), true);
      assert.equal(await own.getByRole('button', { name: 'Reject…' }).isDisabled(), false);
      assert.equal(await imported.getByRole('button', { name: 'Approve…' }).count(), 2);
    }));

  test('are approved with a reason, after a look at the keys that are pinned with them', () =>
    onEvidence(async (page) => {
      const plant = entry(page, 'fastness/fedcba9876543210/plant');
      await plant.getByText('1 more person has to approve; approved by mara').waitFor();
      await plant.getByRole('button', { name: 'Approve…' }).click();
      const { items } = await ask(page, '/imports');
      const { logKeyId, exportKeyId } = items.find(({ tenant }) => tenant === 'foreign:fedcba9876543210/plant');
      for (const digest of [logKeyId, exportKeyId]) await page.getByRole('dialog').getByText(digest).waitFor();
      await confirm(page, 'Approve', 'CHG-17');
      await plant.getByText('Held').waitFor();
      const { approved } = (await ask(page, '/imports')).items.find(({ tenant }) => tenant === 'foreign:fedcba9876543210/plant');
      assert.deepEqual(approved.map(({ person, reason }) => [person, reason]).at(-1), ['admin', 'CHG-17']);
    }));

  test('one that somebody else was faster with: refused with its code, and shown as it is now behind the dialog', () =>
    onEvidence(async (page, server) => {
      const plant = page.locator('li[aria-label="fastness/fedcba9876543210/plant"]');
      await plant.getByText('Approve…').click();
      await page.getByRole('dialog').getByLabel('Reason').fill('CHG-17');
      const { id } = (await ask(page, '/imports')).items.find(({ tenant }) => tenant === 'foreign:fedcba9876543210/plant');
      await fetch(`${server.url}/api/v1/imports/${id}/reject`, { method: 'POST', headers: { Authorization: `Bearer ${server.token}` }, body: '{"reason":"faster"}' });
      await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
      await page.getByRole('dialog').getByRole('alert').getByText('illegal_transition').waitFor();
      // Nothing else reads the list anew while a dialog is open.
      await plant.getByText('Rejected by admin: faster').waitFor({ timeout: 10_000 });
    }));

  test('are rejected with a reason', () =>
    onEvidence(async (page) => {
      const plant = entry(page, 'fastness/fedcba9876543210/plant');
      await plant.getByRole('button', { name: 'Reject…' }).click();
      await confirm(page, 'Reject', 'keys differ');
      await plant.getByText('Rejected by admin: keys differ').waitFor();
    }));
});

describe('work orders', () => {
  test('tell their four stages in words, at the enclave and at the hub, with the proof', () =>
    onEvidence(async (page) => {
      await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
      const proven = (await orders(page)).find(({ evidence }) => evidence);
      const shown = await of(page, proven);
      const north = shown.getByRole('list', { name: 'Stages. At 0123456789abcdef, as imported' });
      const says = (await north.getByRole('listitem').allInnerTexts()).map((text) => text.replaceAll(/\s+/g, ' ').trim());
      assert.match(says[0], /^Ordered done .* admin · event/);
      assert.match(says[1], /^Imported done .* ilse · event 7,101$/);
      assert.match(says[2], /^Started done .* ilse · event 7,104$/);
      assert.match(says[3], /^Reported 1 of 2 runs did not complete .* event 7,390$/);
      const south = shown.getByRole('list', { name: 'Stages. At fedcba9876543210, as imported' });
      assert.match(await south.innerText(), /Started\s+no word yet\s+Reported\s+no word yet/);
      await shown.getByText('event 7,390 of fastness/0123456789abcdef/default').waitFor();
      await shown.getByText('tells of an order with this id that is not the one issued').waitFor();
      await shown.getByText('No word from 99aabbccddeeff00.').waitFor();
      assert.equal(await shown.getByRole('list', { name: /5566778899aabbcc/ }).count(), 0);
      const stopped = await of(page, (await orders(page)).find(({ received }) => received?.state === 'cancelled'));
      assert.match(await stopped.getByRole('list', { name: 'Stages. Here' }).innerText(), /Started\s+never\s+Reported\s+never/);
      await stopped.getByText('Cancelled by the hub').waitFor();
    }));

  test('one that is ready is started, and leads to its runs', () =>
    onEvidence(async (page) => {
      await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
      const ready = (await orders(page)).find(({ state, approvalsMissing }) => state === 'imported' && approvalsMissing === 0);
      const shown = await of(page, ready);
      await shown.getByRole('button', { name: 'Start…' }).click();
      await page.getByText('Registers the pack host-inventory below order/fedcba9876543210/').waitFor();
      await confirm(page, 'Start');
      await shown.locator('.state .word', { hasText: 'Started' }).first().waitFor();
      assert.equal(await shown.getByRole('button', { name: 'Start…' }).count(), 0);
      await shown.getByRole('link', { name: 'host-inventory' }).click();
      await page.getByRole('navigation', { name: 'Views of this run' }).waitFor();
    }));

  test('one that waits for persons is approved first, bound to its file, and then may start', () =>
    onEvidence(async (page) => {
      await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
      const waiting = (await orders(page)).find(({ approvalsMissing }) => approvalsMissing > 0);
      const shown = await of(page, waiting);
      await shown.getByText('1 more person has to approve first.').waitFor();
      assert.equal(await shown.getByRole('button', { name: 'Start…' }).isDisabled(), true);
      await shown.getByRole('button', { name: 'Approve…' }).click();
      await page.getByRole('dialog').getByText(waiting.received.tarSha256).waitFor();
      await confirm(page, 'Approve', 'CHG-21');
      await shown.getByText('2 of 2 approved: mara, admin').waitFor();
      assert.equal(await shown.getByRole('button', { name: 'Start…' }).isDisabled(), false);
    }));

  test('one of the hub is cancelled by a file that has to be carried', () =>
    onEvidence(async (page) => {
      await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
      const shown = await of(page, (await orders(page)).find(({ state }) => state === 'issued'));
      await shown.getByRole('button', { name: 'Cancel…' }).click();
      await page.getByText('Nothing stops elsewhere until its file is carried').waitFor();
      await confirm(page, 'Cancel order', 'withdrawn');
      await shown.getByText(/^Cancelled here by admin/).waitFor();
      assert.match(await shown.getByRole('link', { name: 'Cancellation' }).getAttribute('href'), /\/cancellation$/);
      assert.equal(await shown.getByRole('button', { name: 'Cancel…' }).count(), 0);
    }));

  test('one that somebody else starts moves at once, without a reload', () =>
    onEvidence(async (page, server) => {
      await page.getByText('Live', { exact: true }).first().waitFor();
      const ready = (await orders(page)).find(({ state, approvalsMissing }) => state === 'imported' && approvalsMissing === 0);
      const began = performance.now();
      await fetch(`${server.url}/api/v1/work-orders/${ready.id}/start`, { method: 'POST', headers: { Authorization: `Bearer ${server.token}` }, body: '{}' });
      await (await of(page, ready)).locator('.state .word', { hasText: 'Started' }).first().waitFor();
      assert.ok(performance.now() - began < 10_000, 'sooner than the page asks by itself');
    }));

  test('an act that was overtaken is refused with its code', () =>
    onEvidence(async (page, server) => {
      await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
      const ready = (await orders(page)).find(({ state, approvalsMissing }) => state === 'imported' && approvalsMissing === 0);
      const shown = await of(page, ready);
      await shown.getByRole('button', { name: 'Start…' }).click();
      await page.getByRole('dialog').waitFor();
      await fetch(`${server.url}/api/v1/work-orders/${ready.id}/cancel`, { method: 'POST', headers: { Authorization: `Bearer ${server.token}` }, body: '{"reason":"faster"}' });
      await page.getByRole('dialog').getByRole('button', { name: 'Start' }).click();
      await page.getByRole('dialog').getByRole('alert').getByText('illegal_transition').waitFor();
      await page.keyboard.press('Escape');
      await shown.locator('.state .word', { hasText: 'Cancelled' }).first().waitFor();
    }));
});

describe('the page', () => {
  test('is walked by keyboard: sections by number, entries with j and k', () =>
    onEvidence(async (page) => {
      await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
      await page.keyboard.press('2');
      assert.equal(await page.evaluate(() => document.activeElement.id), 'imports-title');
      await page.keyboard.press('j');
      await page.keyboard.press('j');
      const second = await page.evaluate(() => document.activeElement.getAttribute('aria-label'));
      await page.keyboard.press('k');
      assert.notEqual(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), second);
      await page.keyboard.press('Control+k');
      await page.getByRole('combobox').fill('export a bundle');
      await page.keyboard.press('Enter');
      await page.getByRole('dialog', { name: 'Export a bundle' }).waitFor();
    }));

  test('of an empty server gives the commands that fill it', () =>
    onEvidence(
      async (page) => {
        for (const command of ['fastness export', 'fastness import FILE --log-key', 'fastness work-order issue']) await page.getByText(command).first().waitFor();
        assert.equal(await page.getByRole('button', { name: 'Copy command' }).count(), 4);
      },
      { server: { EMPTY: '1' } },
    ));

  test('asks for nothing that the token does not allow, and says what it would need', () =>
    onEvidence(
      async (page) => {
        const asked = [];
        page.on('request', (request) => asked.push(new URL(request.url()).pathname));
        await page.reload();
        await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
        await section(page, 'Bundles').getByText('it needs the scope audit:export').waitFor();
        await section(page, 'Imported').getByText('it needs the scope audit:import').waitFor();
        assert.deepEqual(asked.filter((path) => /bundles|imports/.test(path)), []);
        for (const act of ['Export a bundle', 'Start…', 'Approve…', 'Cancel…']) assert.equal(await page.getByRole('button', { name: act }).count(), 0, act);
      },
      { server: { SCOPES: 'orch:read' } },
    ));

  test('of a replayed ledger offers no act, here nor among the runs, and says why', () =>
    onEvidence(
      async (page, server) => {
        await page.getByText('which came in bundles. Nothing of it can be changed.').waitFor();
        await page.locator('.side').getByText('Read only').waitFor();
        await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
        for (const act of ['Export a bundle', 'Start…', 'Approve…', 'Reject…', 'Cancel…']) assert.equal(await page.getByRole('button', { name: act }).count(), 0, act);
        await page.keyboard.press('e');
        assert.equal(await page.getByRole('dialog').count(), 0);
        await page.goto(`${server.url}/runs`);
        await page.locator('tbody tr').first().waitFor();
        assert.equal(await page.getByRole('button', { name: 'Start a run' }).count(), 0);
        const waiting = (await ask(page, '/pack-runs?limit=100')).items.find(({ status }) => status === 'waiting');
        await page.goto(`${server.url}/runs/${waiting.id}`);
        await page.getByRole('navigation', { name: 'Views of this run' }).waitFor();
        for (const act of ['Cancel run', 'Pause']) assert.equal(await page.getByRole('button', { name: act }).count(), 0, act);
      },
      { server: { READONLY: '1' } },
    ));

  test('says it clearly where a server only then tells that it can only be read', () =>
    onEvidence(async (page) => {
      await page.route('**/api/v1/bundles/export', (route) => route.fulfill({ status: 409, contentType: 'application/problem+json', body: '{"title":"Conflict","status":409,"code":"foreign_read_only","detail":"this server shows bundles that were replayed: it can only be read"}' }));
      await page.getByRole('button', { name: 'Export a bundle' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Export' }).click();
      await page.getByRole('alert').getByText('No bundle was exported: what is shown here can only be read').waitFor();
    }));

  test('keeps what it showed when a list cannot be read any more, and says how old it is', () =>
    onEvidence(async (page) => {
      await section(page, /^Imported/).getByRole('listitem').first().waitFor();
      await page.route('**/api/v1/imports', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', body: '{"title":"Busy","status":503,"code":"projection_rebuilding","traceId":"4711"}' }));
      await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
      const alert = section(page, /^Imported/).getByRole('alert');
      await alert.getByText('projection_rebuilding').waitFor();
      await alert.getByText(/Still shown: what was true/).waitFor();
      await alert.getByText('4711').waitFor();
      assert.equal(await section(page, /^Imported/).getByRole('listitem').count(), 6);
      await page.unroute('**/api/v1/imports');
      await alert.getByRole('button', { name: 'Try again' }).click();
      await alert.waitFor({ state: 'detached' });
    }));

  test('waits with its acts while the server is away', () =>
    onEvidence(async (page, server) => {
      await page.getByText('Live', { exact: true }).first().waitFor();
      await fetch(`${server.url}/__mock/down?ms=6000`);
      await page.getByText('Connection to the server lost.').waitFor();
      for (const act of ['Export a bundle', 'Start…', 'Reject…', 'Cancel…']) assert.equal(await page.getByRole('button', { name: act }).first().isDisabled(), true, act);
      await page.getByText('Connection to the server lost.').waitFor({ state: 'detached', timeout: 30_000 });
      assert.equal(await page.getByRole('button', { name: 'Export a bundle' }).isDisabled(), false);
    }));

  for (const width of [390, 800, 1024, 1280, 1440]) {
    test(`keeps each stage within its own place, ${width} px`, () =>
      onEvidence(
        async (page) => {
          await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
          const out = await page.evaluate(() => [...document.querySelectorAll('.place ol > li')].flatMap((stage) => {
            const right = stage.getBoundingClientRect().right;
            return [...stage.querySelectorAll('.word, .when > :not(.sr)')].filter((part) => part.getBoundingClientRect().right > right).map((part) => part.textContent);
          }));
          assert.deepEqual(out, []);
        },
        { context: { viewport: { width, height: 900 } } },
      ));
  }

  test('fits 390 px: nothing sticks out to the side', () =>
    onEvidence(
      async (page) => {
        await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
        const out = await page.evaluate(() => [...document.querySelectorAll('main *')].filter((part) => part.getBoundingClientRect().right > innerWidth + 1).map((part) => part.className || part.localName));
        assert.deepEqual(out, []);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
        for (const act of ['Export a bundle', 'Approve…']) {
          await page.getByRole('button', { name: act }).and(page.locator(':enabled')).first().click();
          await page.getByRole('dialog').waitFor();
          const rightOf = 'part.getBoundingClientRect().right > part.parentElement.getBoundingClientRect().right + 1';
          const parts = await page.evaluate(`[...document.querySelectorAll('dialog :is(input, textarea, button, code, p)')].filter((part) => ${rightOf}).map((part) => part.id || part.className || part.localName)`);
          assert.deepEqual(parts, [], act);
          await page.keyboard.press('Escape');
        }
      },
      { context: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } },
    ));
});

describe('axe finds nothing on Evidence', () => {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1440, 390]) {
      test(`${colorScheme}, ${width} px`, async () => {
        const check = async (page, what) => {
          await page.waitForTimeout(400);
          await page.evaluate(AXE);
          const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
          const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary.replaceAll('\n', ' ')}`).slice(0, 3).join(' | ')}`);
          assert.deepEqual(told, [], what);
        };
        // Axe is injected, which the console's own policy rightly forbids.
        const context = { viewport: { width, height: 900 }, colorScheme, bypassCSP: true, reducedMotion: 'reduce' };
        await onEvidence(
          async (page) => {
            await section(page, /^Work orders/).getByRole('listitem').first().waitFor();
            await check(page, 'lists');
            for (const act of ['Export a bundle', 'Approve…', 'Reject…', 'Start…', 'Cancel…']) {
              await page.getByRole('button', { name: act }).and(page.locator(':enabled')).first().click();
              await page.getByRole('dialog').waitFor();
              await check(page, act);
              if (act === 'Export a bundle') {
                await page.getByRole('dialog').getByRole('button', { name: 'Export' }).click();
                await page.getByText(/^The bundle of/).waitFor();
                await check(page, 'exported');
              }
              await page.keyboard.press('Escape');
            }
          },
          { context },
        );
        await onEvidence(async (page) => (await page.getByText('Nothing was imported yet').waitFor(), check(page, 'empty')), { context, server: { EMPTY: '1' } });
        await onEvidence(async (page) => (await page.getByText('it needs the scope audit:import').waitFor(), check(page, 'forbidden')), { context, server: { SCOPES: 'orch:read' } });
        await onEvidence(async (page) => (await page.getByText('Nothing of it can be changed').waitFor(), check(page, 'read only')), { context, server: { READONLY: '1' } });
      });
    }
  }
});

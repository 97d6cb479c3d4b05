// Pictures of every page in both themes and at three widths, for a person to look at. Writes shots/.
// ONLY=part of a name, WIDTHS=1440,390, THEMES=light,dark narrow it down.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ask, newPage, signIn, startBrowser, startServer } from './browser.mjs';

const { ONLY = '', WIDTHS = '1440,390', THEMES = 'light,dark' } = process.env;
const HEIGHTS = { 1440: 900, 1024: 800, 390: 844 };
const folder = join(import.meta.dirname, '../shots');
mkdirSync(folder, { recursive: true });

const server = await startServer({ SPEED: '1' });
const browser = await startBrowser();

async function shoot(page, name, theme, width) {
  if (!name.includes(ONLY)) return;
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(folder, `${name}-${width}-${theme}.png`) });
}

for (const theme of THEMES.split(',')) {
  for (const width of WIDTHS.split(',').map(Number)) {
    const context = await browser.newContext({ viewport: { width, height: HEIGHTS[width] ?? 900 }, colorScheme: theme, hasTouch: width < 600, isMobile: width < 600 });
    const { page, faults } = await newPage(context, server);
    const open = (path) => page.goto(server.url + path).then(() => page.waitForLoadState('load'));
    await open('/');
    await shoot(page, 'sign-in', theme, width);
    await signIn(page, server);
    await page.locator('tbody tr').first().waitFor();
    await shoot(page, 'runs', theme, width);
    const { items } = await ask(page, '/pack-runs?limit=100');
    const of = (pack, status) => items.find((run) => run.pack.name === pack && (!status || run.status === status))?.id;

    if (await page.locator('kbd').first().isVisible().catch(() => false)) {
      await page.keyboard.press('Control+k');
      await shoot(page, 'palette', theme, width);
      await page.keyboard.press('Escape');
      await page.keyboard.press('?');
      await shoot(page, 'help', theme, width);
      await page.keyboard.press('Escape');
    }
    await page.getByRole('button', { name: 'Start a run' }).click();
    await page.getByLabel('Pack', { exact: true }).waitFor();
    await shoot(page, 'start', theme, width);
    await page.keyboard.press('Escape');

    const started = await page.evaluate(async () => {
      const { csrfToken } = await (await fetch('/api/v1/session')).json();
      const made = await fetch('/api/v1/pack-runs', { method: 'POST', headers: { 'X-Fastness-Csrf': csrfToken, 'Content-Type': 'application/json' }, body: '{"pack":"host-inventory","inputs":{}}' });
      return (await made.json()).id;
    });
    await page.waitForTimeout(8_000);
    await open(`/runs/${started}`);
    await shoot(page, 'graph-live', theme, width);
    await open(`/runs/${started}?tab=gantt`);
    await shoot(page, 'gantt-live', theme, width);
    await open(`/runs/${started}?tab=log`);
    await shoot(page, 'log-live', theme, width);
    const scan = of('image-scan', 'partially_failed') ?? of('image-scan');
    await open(`/runs/${scan}?step=signatures`);
    await shoot(page, 'graph-failed', theme, width);
    await open(`/runs/${scan}?tab=gantt&step=signatures`);
    await shoot(page, 'gantt-failed', theme, width);
    await open(`/runs/${scan}?tab=log&q=error`);
    await shoot(page, 'log-search', theme, width);
    await open(`/runs/${of('host-inventory', 'completed')}?tab=artifacts`);
    await shoot(page, 'artifacts', theme, width);
    await open(`/runs/${of('hostile-output')}?tab=log`);
    await shoot(page, 'log-hostile', theme, width);
    await open(`/runs/${of('wide-scan')}`);
    await shoot(page, 'graph-wide', theme, width);
    await open(`/runs/${of('firmware-release')}`);
    await shoot(page, 'graph-waiting', theme, width);
    await open('/evidence');
    await page.getByRole('region', { name: /^Work orders/ }).waitFor();
    await shoot(page, 'evidence', theme, width);
    await page.evaluate(() => document.getElementById('orders-title').scrollIntoView());
    await shoot(page, 'evidence-orders', theme, width);
    await page.getByRole('button', { name: 'Export a bundle' }).click();
    await page.getByRole('dialog').waitFor();
    await shoot(page, 'evidence-export', theme, width);
    await page.keyboard.press('Escape');
    await open('/runs?status=pending');
    await shoot(page, 'runs-none', theme, width);
    await open('/runs/00000000-0000-7000-8000-000000000000');
    await shoot(page, 'run-missing', theme, width);
    if (faults.length > 0) console.error(theme, width, faults);
    await context.close();
  }
}
await browser.close();
server.stop();

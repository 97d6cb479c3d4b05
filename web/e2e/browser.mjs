// The browser and the server under test. Owns starting and ending both.
// With BASE_URL and TOKEN set a running server is driven; otherwise the mock is started on a free port.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
export const isMock = !process.env.BASE_URL;

export async function startServer(environment = {}) {
  if (!isMock) return { url: process.env.BASE_URL.replace(/\/$/, ''), token: process.env.TOKEN, stop() {} };
  const child = spawn(process.execPath, [join(import.meta.dirname, '../mock/server.mjs')], { env: { ...process.env, PORT: '0', TOKEN: 'mock-token', ...environment }, stdio: ['ignore', 'pipe', 'inherit'] });
  const url = await new Promise((resolve, reject) => {
    child.stdout.on('data', (text) => /^ready (\S+)/.exec(text)?.[1] && resolve(/^ready (\S+)/.exec(text)[1]));
    child.on('exit', (code) => reject(new Error(`the mock ended with ${code}`)));
  });
  return { url, token: 'mock-token', stop: () => child.kill() };
}

export function startBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
}

/** A page that keeps note of what must not happen: other origins, CSP reports, script errors. */
export async function newPage(context, server) {
  const page = await context.newPage();
  const faults = [];
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol.startsWith('http') && origin !== server.url) faults.push(`request to ${origin}`);
  });
  page.on('pageerror', (error) => faults.push(`script error: ${error.message}`));
  page.on('console', (message) => /Content.Security|Trusted ?Type|Refused to/i.test(message.text()) && faults.push(`console: ${message.text()}`));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  return { page, faults };
}

export async function signIn(page, server, path = '/') {
  await page.goto(server.url + path);
  await page.getByLabel('Access token').fill(server.token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Pages' }).or(page.getByRole('button', { name: 'Menu' })).first().waitFor();
}

/** Through the interface, with the page's own session. */
export function ask(page, path) {
  return page.evaluate(async (asked) => (await fetch(`/api/v1${asked}`)).json(), path);
}

// The browser and the server under test. Owns starting and ending both.
// FASTNESS_BIN is a program to start, on a folder of its own; BASE_URL and TOKEN name a server that runs already; without
// either it is the mock.

import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const { BASE_URL, TOKEN, FASTNESS_BIN } = process.env;
export const isMock = !BASE_URL && !FASTNESS_BIN;
/** Whether the server can be ended and started again: it is ours, and real. */
export const isOurs = Boolean(FASTNESS_BIN) && !BASE_URL;

export async function startServer(environment = {}) {
  if (BASE_URL) return { url: BASE_URL.replace(/\/$/, ''), token: TOKEN, stop() {} };
  return FASTNESS_BIN ? startFastness() : startMock(environment);
}

export async function startMock(environment = {}) {
  const { child, url } = await startProgram(process.execPath, [join(import.meta.dirname, '../mock/server.mjs')], { PORT: '0', TOKEN: 'mock-token', ...environment });
  return { url, token: 'mock-token', stop: () => child.kill() };
}

/** The real one. `end` and `again` end it and start it on the same port; `call` is its command line, and gives what it printed. */
async function startFastness() {
  const folder = mkdtempSync(join(tmpdir(), 'fastness-e2e-'));
  const data = join(folder, 'data');
  const serve = (listen) => startProgram(FASTNESS_BIN, ['serve', '--data', data, '--listen', listen, '--log', 'warn'], {});
  let { child, url } = await serve('127.0.0.1:0');
  const end = () => endProgram(child);
  const call = async (...parameters) => {
    const env = { ...process.env, FASTNESS_SERVER: url, FASTNESS_TOKEN_FILE: join(data, 'admin.token') };
    return (await promisify(execFile)(FASTNESS_BIN, parameters, { env })).stdout;
  };
  const again = async () => ({ child } = await serve(new URL(url).host));
  const stop = async () => {
    await end();
    rmSync(folder, { recursive: true });
  };
  return { url, token: readFileSync(join(data, 'admin.token'), 'utf8').trim(), call, end, again, stop };
}

/** The real one on a bundle that was replayed, with the keys that it is signed by. */
export async function startReplayed(bundle, logKey, exportKey) {
  const parameters = ['replay-bundle', bundle, '--serve', '--log-key', logKey, '--export-key', exportKey];
  const { child, url, said } = await startProgram(FASTNESS_BIN, parameters, {}, /^token (\S+)$/m);
  return { url, token: said[1], stop: () => endProgram(child) };
}

/** Ends a program as a service manager does, which it takes well. */
async function endProgram(child) {
  const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  child.kill();
  const code = await ended;
  if (code !== 0) throw new Error(`the server ended with ${code}`);
}

/** Starts a program that says `ready` and where, and what else is waited for; it does not outlive us. */
async function startProgram(program, parameters, environment, wanted = /^ready \S+$/m) {
  const child = spawn(program, parameters, { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  let text = '';
  const said = await new Promise((resolve, reject) => {
    child.stdout.on('data', (more) => {
      text += more;
      const found = wanted.exec(text);
      if (found) resolve(found);
    });
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`${program} ended with ${code}`)));
  });
  return { child, url: /^ready (\S+)/.exec(text)[1], said };
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

// The table of pages: which address shows what, and what the navigation lists. A page that is not here does not exist.
// Promises: each page is loaded when it is first opened, never before.

import type { Component } from 'svelte';

export interface PageProps {
  parameters: string[];
}

interface PageEntry {
  path: RegExp;
  load: () => Promise<{ default: Component<PageProps> }>;
}

export const HOME = '/runs';

export const PAGES: PageEntry[] = [
  { path: /^\/runs$/, load: () => import('../runs/RunsPage.svelte') },
  { path: /^\/runs\/([0-9a-zA-Z-]{1,64})$/, load: () => import('../run/RunPage.svelte') },
  { path: /^\/evidence$/, load: () => import('../evidence/EvidencePage.svelte') },
];

export interface NavigationGroup {
  title: string;
  links: { title: string; href: string; icon: string; keys: string }[];
}

export const NAVIGATION: NavigationGroup[] = [
  { title: 'Packs', links: [{ title: 'Runs', href: '/runs', icon: 'runs', keys: 'g r' }] },
  { title: 'Prove', links: [{ title: 'Evidence', href: '/evidence', icon: 'evidence', keys: 'g e' }] },
];

export function pageAt(path: string): { page: PageEntry; parameters: string[] } | null {
  for (const page of PAGES) {
    const found = page.path.exec(path);
    if (found) return { page, parameters: found.slice(1) };
  }
  return null;
}

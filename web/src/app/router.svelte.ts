// Where the tab is. Owns the address: its path and its query, and how links inside the console change them.
// Promises: what a person sees can be had again from the address. Must never lead to another origin.

// Two signals, so that a changed query leaves the page alone and only what reads the query moves.
let path = $state(location.pathname);
let query = $state.raw(new URLSearchParams(location.search));

function arrive(): void {
  path = location.pathname;
  query = new URLSearchParams(location.search);
}

export const router = {
  get path(): string {
    return path;
  },
  get query(): URLSearchParams {
    return query;
  },
};

export function navigate(to: string, { replace = false } = {}): void {
  const url = new URL(to, location.href);
  if (url.origin !== location.origin) return;
  // The zone belongs to the reader, not to the page: it stays while pages change.
  const zone = query.get('zone');
  if (zone && !url.searchParams.has('zone')) url.searchParams.set('zone', zone);
  if (url.href === location.href) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', url);
  const left = path;
  arrive();
  if (path !== left) scrollTo(0, 0);
}

/** Changes some of the query and keeps the rest; null removes. Filters replace, so that Back leaves the page. */
export function setQuery(change: Record<string, string | null>, { replace = true } = {}): void {
  navigate(path + hrefQuery(change), { replace });
}

/** The query of this page with some of it changed, for links. */
export function hrefQuery(change: Record<string, string | null>): string {
  const changed = new URLSearchParams(query);
  for (const [name, value] of Object.entries(change)) {
    if (value === null || value === '') changed.delete(name);
    else changed.set(name, value);
  }
  const text = changed.toString();
  return text ? `?${text}` : '';
}

function isOurs(event: MouseEvent, link: HTMLAnchorElement): boolean {
  return (
    event.button === 0 &&
    !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.defaultPrevented) &&
    !link.target &&
    !link.hasAttribute('download') &&
    link.origin === location.origin &&
    !link.pathname.startsWith('/api/')
  );
}

export function startRouter(): void {
  addEventListener('popstate', arrive);
  document.addEventListener('click', (event) => {
    const link = (event.target as Element).closest?.('a[href]');
    if (!(link instanceof HTMLAnchorElement) || !isOurs(event, link) || link.getAttribute('href')?.startsWith('#')) return;
    event.preventDefault();
    navigate(link.href);
  });
}

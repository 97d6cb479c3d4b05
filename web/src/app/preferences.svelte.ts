// What a person prefers on this browser: theme, zone, keys, wrapping. Owns their storage.
// Promises: a damaged or forbidden storage means defaults, never an error. The zone in the address wins over the stored one.

export type Theme = 'auto' | 'light' | 'dark';
export type Zone = 'utc' | 'local';

interface Preferences {
  theme: Theme;
  zone: Zone;
  singleKeys: boolean;
  wrap: boolean;
}

const KEY = 'fastness.preferences';
const DEFAULTS: Preferences = { theme: 'auto', zone: 'utc', singleKeys: true, wrap: false };

function read(): Preferences {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Preferences>;
    return {
      theme: stored.theme === 'light' || stored.theme === 'dark' ? stored.theme : DEFAULTS.theme,
      zone: stored.zone === 'local' ? 'local' : DEFAULTS.zone,
      singleKeys: stored.singleKeys !== false,
      wrap: stored.wrap === true,
    };
  } catch {
    return { ...DEFAULTS };
  }
}

export const preferences: Preferences = $state(read());

export function prefer(change: Partial<Preferences>): void {
  Object.assign(preferences, change);
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // A browser that stores nothing keeps the choice for as long as the tab lives.
  }
  showTheme();
}

const darkSystem = matchMedia('(prefers-color-scheme: dark)');

/** Puts the theme on the root element, where the tokens look for it. */
export function showTheme(): void {
  const { theme } = preferences;
  document.documentElement.dataset['theme'] = theme === 'auto' ? (darkSystem.matches ? 'dark' : 'light') : theme;
}

darkSystem.addEventListener('change', showTheme);

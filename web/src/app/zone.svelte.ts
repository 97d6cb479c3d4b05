// The zone that times are shown in. The one in the address wins, so that a link shows what its sender saw.

import { prefer, preferences, type Zone } from './preferences.svelte.ts';
import { router, setQuery } from './router.svelte.ts';

export function zone(): Zone {
  const asked = router.query.get('zone');
  return asked === 'utc' || asked === 'local' ? asked : preferences.zone;
}

export function chooseZone(chosen: Zone): void {
  prefer({ zone: chosen });
  setQuery({ zone: chosen });
}

export function zoneName(zone: Zone): string {
  if (zone === 'utc') return 'UTC';
  return Intl.DateTimeFormat().resolvedOptions().timeZone || 'local time';
}

// What has happened before the mock is asked: a few days of runs in every state.

const HOUR = 3_600_000;

export function seed(world, { empty = false, live = true } = {}) {
  if (empty) return;
  const now = Date.now();
  const past = [];
  for (let index = 0; index < 58; index += 1) past.push([['host-inventory', 'image-scan', 'host-inventory', 'hostile-output'][index % 4], 60 - index, {}]);
  past.push(['wide-scan', 1.6, {}], ['log-flood', 1.2, {}], ['hostile-output', 1, {}], ['image-scan', 0.8, { correlationId: 'order-2291' }], ['host-inventory', 0.55, { correlationId: 'nightly-31' }]);
  for (const [name, hoursAgo, options] of past) world.start(name, name === 'image-scan' ? { image: '/srv/images/gateway-9.tar' } : {}, { at: now - hoursAgo * HOUR, ...options });
  world.start('image-scan', { image: '/srv/images/edge-4.tar' }, { at: now - 0.4 * HOUR, cancelAfter: 5_500, correlationId: 'order-2292' });
  world.start('firmware-release', {}, { at: now - 0.2 * HOUR, correlationId: 'release-2.8.1' });
  if (live) world.start('host-inventory', { root: '/opt/plant' }, { correlationId: 'nightly-32' });
}

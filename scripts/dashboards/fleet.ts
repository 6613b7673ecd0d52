import { AGE, choice, dashboard, TO_DEVICE } from './grafana.js';

const TIME = { unit: 'dateTimeAsIso' };

/** Freshness first: everything else explains it. */
export const fleet = dashboard({
  name: 'fleet',
  title: 'fleet',
  description: 'How old is what each device has proven to hold? Who asks, what comes of it, what fails and why.',
  from: 'now-24h',
  variables: [choice('hours', 'Without ack for hours', ['24', '72', '168', '1', '720'])],
  panels: [
    {
      title: 'Age of the last verified state of every device',
      description:
        'Oldest first; devices that never proved anything before all. Only a verified state counts: a device that asks but does not load gets older here. Click on a device for its history.',
      type: 'table',
      width: 24,
      height: 11,
      runbook: 'device-silent',
      sql: `SELECT mac, extract(epoch FROM verified_age)::bigint AS verified_age, verified_at, last_request_at, consecutive_failures, last_error_code,
                   verified_manifest_id, filters::text AS filters
            FROM waypost.device_status ORDER BY verified_at NULLS FIRST, mac`,
      columns: { verified_age: AGE, mac: TO_DEVICE, verified_at: TIME, last_request_at: TIME },
    },
    {
      title: 'Oldest verified state',
      description: 'Of all devices that ever proved one.',
      type: 'stat',
      width: 4,
      height: 6,
      unit: 's',
      thresholds: [3600, 86_400],
      promql: { oldest: 'max(waypost_central_fleet_oldest_verified_age_seconds)' },
    },
    {
      title: 'Devices by state',
      description: 'fresh, stale, silent (did not ask), failing (asks and fails), never (proved nothing yet).',
      type: 'stat',
      width: 6,
      height: 6,
      promql: { '{{state}}': 'max by (state) (waypost_central_fleet_devices)' },
    },
    {
      title: 'Devices without ack',
      description: 'Whose state was not verified for so many hours.',
      type: 'stat',
      width: 5,
      height: 6,
      thresholds: [1, 10],
      promql: { '{{hours}} h': 'max by (hours) (waypost_central_fleet_devices_without_ack)' },
    },
    {
      title: 'Devices held back',
      description: 'A table of their share lost more rows in one step than MAX_SHRINK allows; they keep what they have.',
      type: 'stat',
      width: 4,
      height: 6,
      thresholds: [1, 1],
      runbook: 'share-shrank',
      promql: { held: 'max(waypost_central_fleet_held_devices)' },
    },
    {
      title: 'Failing now, by error',
      description: 'Devices whose last request or sync failed, by the code of the last failure.',
      type: 'barchart',
      width: 5,
      height: 6,
      sql: `SELECT last_error_code AS reason, count(*) AS devices FROM waypost.device_status
            WHERE consecutive_failures > 0 GROUP BY 1 ORDER BY 2 DESC LIMIT 10`,
    },
    {
      title: 'Devices by the age of their verified state',
      description: 'How many are at most so old: lines that sink are a fleet that grows stale.',
      type: 'timeseries',
      width: 12,
      promql: { '≤ {{le}} s': 'max by (le) (waypost_central_fleet_verified_age_devices)' },
    },
    {
      title: 'Without ack for $hours hours',
      description: 'Devices whose state was not verified for the hours chosen above, those that never were first.',
      type: 'table',
      width: 12,
      runbook: 'device-silent',
      sql: `SELECT mac, extract(epoch FROM verified_age)::bigint AS verified_age, last_request_at, last_error_code, consecutive_failures
            FROM waypost.devices_without_ack($hours) LIMIT 200`,
      columns: { verified_age: AGE, mac: TO_DEVICE, last_request_at: TIME },
    },
    {
      title: 'Requests by hour',
      description: 'Issued: answered with a manifest. Refused: the device is at fault. Failed: central is.',
      type: 'timeseries',
      width: 12,
      bars: true,
      sql: `SELECT hour AS time, status AS metric, sum(requests) AS requests FROM waypost.requests_by_hour
            WHERE $__timeFilter(hour) AND operation = 'request' GROUP BY 1, 2 ORDER BY 1`,
    },
    {
      title: 'Success rates',
      description: 'Of requests, and of syncs that devices acknowledged.',
      type: 'timeseries',
      width: 12,
      unit: 'percentunit',
      max: 1,
      runbook: 'repeated-failures',
      sql: `SELECT hour AS time, request_success_rate AS requests, ack_success_rate AS syncs FROM waypost.success_rates WHERE $__timeFilter(hour) ORDER BY 1`,
    },
    {
      title: 'Failures by reason',
      description: 'Of the time chosen. Source device: a sync failed there; else a request, download or ack was refused or failed here.',
      type: 'table',
      width: 8,
      sql: `SELECT source, reason, sum(failures) AS failures, max(devices) AS devices_in_an_hour, max(hour) AS last_hour FROM waypost.failures_by_reason
            WHERE $__timeFilter(hour) GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 50`,
      columns: { last_hour: TIME },
    },
    {
      title: 'Slowest devices',
      description: 'Time on the device from its request to its commit, of the syncs in the time chosen.',
      type: 'table',
      width: 8,
      unit: 'ms',
      sql: `SELECT mac, p95_ms, median_ms, max_ms, syncs, failed FROM waypost.device_durations($__timeFrom(), $__timeTo()) ORDER BY p95_ms DESC LIMIT 20`,
      columns: { mac: TO_DEVICE, syncs: { unit: 'short' }, failed: { unit: 'short' } },
    },
    {
      title: 'Changes by table',
      description: 'Manifests in which a table differed from the same device’s manifest before, and the rows that came and went.',
      type: 'table',
      width: 8,
      sql: `SELECT table_name, sum(manifests) AS manifests, sum(changed) AS changed, sum(rows_added) AS rows_added, sum(rows_removed) AS rows_removed
            FROM waypost.table_changes_by_hour WHERE $__timeFilter(hour) GROUP BY 1 ORDER BY 3 DESC`,
    },
  ],
});

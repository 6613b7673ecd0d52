import { dashboard, type PanelSpec, series } from './grafana.js';

const p95 = (metric: string, by = ''): string => `histogram_quantile(0.95, sum by (le${by}) (rate(${metric}_bucket[$__rate_interval])))`;
const rate = (metric: string, by = ''): string => `sum${by} (rate(${metric}[$__rate_interval]))`;
const DAY_S = 86_400;
/** Of the replica that has the least time left. Thresholds are those of the alarms. */
const untilExpiry = (title: string, description: string, metric: string, runbook: string): PanelSpec => ({
  title,
  description,
  type: 'stat',
  width: 5,
  height: 5,
  unit: 's',
  thresholds: [3 * DAY_S, 21 * DAY_S],
  lowIsBad: true,
  runbook,
  promql: { left: `min(${metric}) - time()` },
});

/** The health of central-api, of all replicas. */
export const central = dashboard({
  name: 'central',
  title: 'central',
  description: 'central-api: does it answer, how fast, what fails, does it have room?',
  from: 'now-6h',
  panels: [
    {
      title: 'Replicas up',
      description: 'As Prometheus sees them.',
      type: 'stat',
      width: 4,
      height: 5,
      thresholds: [1, 1],
      lowIsBad: true,
      promql: { up: 'sum(up{job="central"})' },
    },
    {
      title: 'Requests that failed',
      description: 'Share of all requests that central itself failed (5xx), over an hour.',
      runbook: 'central-failing',
      type: 'stat',
      width: 5,
      height: 5,
      unit: 'percentunit',
      thresholds: [0.01, 0.05],
      promql: {
        failed:
          '(sum(rate(waypost_central_requests_total{status="Failed"}[1h])) or vector(0)) / (sum(rate(waypost_central_requests_total[1h])) > 0)',
      },
    },
    {
      title: 'A request’s 95th percentile',
      description: 'From a device’s request to its manifest.',
      type: 'stat',
      width: 5,
      height: 5,
      unit: 's',
      thresholds: [5, 30],
      runbook: 'central-slow',
      promql: {
        p95: 'histogram_quantile(0.95, sum by (le) (rate(waypost_central_request_duration_seconds_bucket{operation="request"}[30m])))',
      },
    },
    {
      title: 'Free space for snapshots',
      description: 'Of the disk that holds the snapshot store.',
      type: 'stat',
      width: 5,
      height: 5,
      unit: 'percentunit',
      thresholds: [0.05, 0.15],
      lowIsBad: true,
      runbook: 'store-low',
      promql: { free: 'min(waypost_central_store_free_bytes / waypost_central_store_size_bytes)' },
    },
    {
      title: 'Waiting for a build',
      description: 'Requests that wait for one of MAX_CONCURRENT_BUILDS places.',
      type: 'stat',
      width: 5,
      height: 5,
      thresholds: [1, 20],
      promql: { waiting: 'sum(waypost_central_builds_waiting)' },
    },
    series(
      'Requests',
      'Per second, by what came of them.',
      'reqps',
      { '{{operation}} {{status}}': rate('waypost_central_requests_total', ' by (operation, status)') },
      { bars: true },
    ),
    series('Refusals and failures', 'Per second, by reason.', 'reqps', {
      '{{reason}}': 'sum by (reason) (rate(waypost_central_requests_total{status!="Issued"}[$__rate_interval]))',
    }),
    series(
      'Duration of requests',
      '95th percentile from a request to its answer.',
      's',
      { '{{operation}}': p95('waypost_central_request_duration_seconds', ', operation') },
      { runbook: 'central-slow' },
    ),
    series('In flight', 'Requests, snapshot builds, and requests that wait for a build.', 'short', {
      '{{operation}}': 'sum by (operation) (waypost_central_requests_in_flight)',
      builds: 'sum(waypost_central_builds_in_flight)',
      'waiting for a build': 'sum(waypost_central_builds_waiting)',
    }),
    series('Duration of snapshot builds', '95th percentile: of a device’s whole share, and of single tables.', 's', {
      snapshot: p95('waypost_central_snapshot_build_duration_seconds'),
      table: p95('waypost_central_snapshot_table_build_duration_seconds'),
    }),
    series('Rows read for snapshots', 'Per second.', 'rowsps', { rows: rate('waypost_central_snapshot_rows_total') }),
    series('Bytes', 'Read for snapshots (canonical), and sent.', 'Bps', {
      read: rate('waypost_central_snapshot_bytes_total'),
      'sent, {{operation}}': rate('waypost_central_sent_bytes_total', ' by (operation)'),
    }),
    series('Acknowledgements', 'Per second, by result.', 'short', { '{{result}}': rate('waypost_central_acks_total', ' by (result)') }),
    series(
      'Snapshot store',
      'Its size, and what is free on its disk.',
      'bytes',
      { store: 'max(waypost_central_store_bytes)', free: 'min(waypost_central_store_free_bytes)' },
      { runbook: 'store-low' },
    ),
    {
      title: 'Tables whose changes were not captured',
      description:
        'With changes: triggers, open findings of shadow reads and of the canary. While there is one, every request reads the tables.',
      runbook: 'capture-lied',
      type: 'stat',
      width: 6,
      thresholds: [1, 1],
      promql: { 'shadow reads': 'max(waypost_central_shadow_findings)', canary: 'max(waypost_central_canary_findings)' },
    },
    series(
      'Shadow reads',
      'By the hour: answers “unchanged” that were compared with the tables, by result.',
      'short',
      { '{{result}}': 'sum by (result) (increase(waypost_central_shadow_reads_total[1h]))' },
      { width: 6 },
    ),
    series(
      'Age of the oldest comparison',
      'Of the last shadow read of each table. Each is due once a day.',
      's',
      { age: 'max(waypost_central_shadow_read_age_seconds)' },
      { width: 6, thresholds: [100_000, 200_000] },
    ),
    series(
      'Canary',
      'By the hour: captured tables that were written to without changing a row, by result.',
      'short',
      { '{{result}}': 'sum by (result) (increase(waypost_central_canaries_total[1h]))' },
      { width: 6, runbook: 'canary-failed' },
    ),
    series('Event loop lag', '99th percentile. Above 0.1 s everything is late.', 's', {
      '{{instance}}': 'nodejs_eventloop_lag_p99_seconds{job="central"}',
    }),
    series('Memory', 'Resident, and the heap in use.', 'bytes', {
      'resident {{instance}}': 'process_resident_memory_bytes{job="central"}',
      'heap {{instance}}': 'nodejs_heap_size_used_bytes{job="central"}',
    }),
    series('CPU', 'Cores in use.', 'short', { '{{instance}}': 'rate(process_cpu_seconds_total{job="central"}[$__rate_interval])' }),
    {
      title: 'Failures of central by hour',
      description: 'Requests that central itself failed, from the audit: also those before Prometheus was there.',
      type: 'timeseries',
      width: 12,
      bars: true,
      sql: `SELECT hour AS time, reason AS metric, sum(requests) AS failures FROM waypost.requests_by_hour
            WHERE status = 'Failed' AND $__timeFilter(hour) GROUP BY 1, 2 ORDER BY 1`,
    },
    {
      title: 'Size of the audit',
      description: 'Tables of schema waypost with their indexes. AUDIT_RETENTION bounds them.',
      type: 'table',
      width: 12,
      unit: 'bytes',
      sql: `SELECT relname AS name, pg_total_relation_size(c.oid) AS bytes, greatest(reltuples, 0)::bigint AS rows FROM pg_class c
            WHERE relnamespace = 'waypost'::regnamespace AND relkind = 'r' ORDER BY 2 DESC LIMIT 12`,
      columns: { rows: { unit: 'short' } },
    },
  ],
  closed: [
    {
      title: 'Identity and proof',
      panels: [
        {
          title: 'Devices are known by',
          description: 'AUTH: with mac, a device that has never enrolled is known by its MAC alone.',
          type: 'stat',
          width: 4,
          height: 5,
          thresholds: [1, 1],
          mappings: { '0': 'their key', '1': 'MAC' },
          promql: { auth: 'max(waypost_central_identity_by_mac)' },
        },
        untilExpiry(
          'Signing key expires in',
          'The key that signs manifests.',
          'waypost_central_signing_key_expires_timestamp_seconds',
          'signing-key-expires-soon',
        ),
        untilExpiry(
          'Certificate expires in',
          'The one that central serves; NaN without TLS.',
          'waypost_central_certificate_expires_timestamp_seconds',
          'certificate-expires-soon',
        ),
        {
          title: 'Ledger in doubt',
          description:
            'Reports of devices that the ledger does not continue what they saw, and keys whose receipts have a gap or a number twice.',
          type: 'stat',
          width: 5,
          height: 5,
          thresholds: [1, 1],
          runbook: 'ledger-forked',
          promql: { forks: 'max(waypost_central_ledger_forks)', chains: 'max(waypost_central_ledger_broken_chains)' },
        },
        {
          title: 'Oldest receipt that waits',
          description: 'For its place in the ledger. It should be within seconds.',
          type: 'stat',
          width: 5,
          height: 5,
          unit: 's',
          thresholds: [60, 600],
          promql: { age: 'max(waypost_central_ledger_queue_age_seconds)' },
        },
        series(
          'Entries of the ledger',
          'It only grows: one for each acknowledgement, and one for each device and hour of polls.',
          'short',
          {
            entries: 'max(waypost_central_ledger_entries)',
          },
        ),
        {
          title: 'Refusals by hour',
          description: 'By reason, from the audit; those that too many came of in a minute are counted, too.',
          type: 'timeseries',
          width: 12,
          bars: true,
          sql: `SELECT hour AS time, reason AS metric, sum(requests) AS refusals FROM waypost.requests_by_hour
                WHERE status = 'Refused' AND $__timeFilter(hour) GROUP BY 1, 2 ORDER BY 1`,
        },
      ],
    },
  ],
});

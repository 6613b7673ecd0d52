import { dashboard, EDGE_DATABASE, type PanelSpec, PROMETHEUS, queryVariable, series } from './grafana.js';

const ONE = '{instance=~"$instance"}';
const p95 = (metric: string, by = ''): string => `histogram_quantile(0.95, sum by (le${by}) (rate(${metric}_bucket${ONE}[30m])))`;
const stat = (title: string, description: string, expr: string, more: Partial<PanelSpec>): PanelSpec => ({
  title,
  description,
  type: 'stat',
  width: 4,
  height: 5,
  promql: { [title]: expr },
  ...more,
});
const TIME = { unit: 'dateTimeAsIso' };

/** The health of one edge-service, for devices that Prometheus can reach. */
export const edge = dashboard({
  name: 'edge',
  title: 'edge',
  description:
    'edge-service on one device: is its data fresh, does it sync, what does it cost? Needs a Prometheus that reaches the device.',
  from: 'now-6h',
  variables: [
    queryVariable('instance', 'Device', 'label_values(waypost_edge_sync_interval_seconds, instance)', PROMETHEUS),
    {
      type: 'datasource',
      name: 'edge_database',
      label: 'Device’s database',
      query: 'grafana-postgresql-datasource',
      regex: '/edge/i',
      refresh: 1,
      multi: false,
      includeAll: false,
      options: [],
      current: {},
    },
  ],
  panels: [
    stat(
      'Age of the last verified state',
      'Since the device’s data was last equal to a manifest; −1 before the first.',
      `max(waypost_edge_verified_age_seconds${ONE})`,
      {
        width: 6,
        unit: 's',
        thresholds: [3600, 86_400],
        mappings: { '-1': 'never' },
        runbook: 'device-silent',
      },
    ),
    stat('Failures in a row', 'Failed cycles since the last good one.', `max(waypost_edge_consecutive_failures${ONE})`, {
      thresholds: [1, 3],
      runbook: 'repeated-failures',
    }),
    stat(
      'Circuit breaker',
      'Towards central. Open: cycles fail at once, every 10 s one request may try.',
      `max(waypost_edge_breaker_state${ONE})`,
      {
        thresholds: [1, 2],
        mappings: { '0': 'closed', '1': 'half-open', '2': 'open' },
        runbook: 'breaker-open',
      },
    ),
    stat('Acks that wait', 'Acknowledgements that central does not have yet.', `max(waypost_edge_pending_acks${ONE})`, {
      thresholds: [2, 10],
      runbook: 'acks-piling-up',
    }),
    stat('Clock', 'The device’s clock minus central’s.', `max(waypost_edge_clock_offset_seconds${ONE})`, {
      width: 3,
      unit: 's',
      thresholds: [30, 300],
      runbook: 'clock-off',
    }),
    stat('Cycle', 'Whether one is running.', `max(waypost_edge_cycle_running${ONE})`, {
      width: 3,
      mappings: { '0': 'idle', '1': 'running' },
    }),
    series(
      'Cycles',
      'By what came of them, in ten minutes.',
      'short',
      { '{{status}}': `sum by (status) (increase(waypost_edge_cycles_total${ONE}[10m]))` },
      { bars: true },
    ),
    series(
      'Failures by code',
      'Failed cycles in ten minutes.',
      'short',
      { '{{code}}': `sum by (code) (increase(waypost_edge_cycle_failures_total${ONE}[10m]))` },
      { bars: true, runbook: 'repeated-failures' },
    ),
    series(
      'Alerts',
      '1 for an error that needs an operator; cleared by the next good cycle.',
      'short',
      { '{{code}}': `max by (code) (waypost_edge_alerts${ONE})` },
      { bars: true, runbook: 'verification-failed' },
    ),
    series('Age of the last verified state', 'A saw-tooth of the sync interval is right; a ramp is an outage.', 's', {
      age: `max(waypost_edge_verified_age_seconds${ONE})`,
      'sync interval': `max(waypost_edge_sync_interval_seconds${ONE})`,
    }),
    series('Duration of cycles', 'Half of them, and 95 % of them, are faster.', 's', {
      '50 %': `histogram_quantile(0.5, sum by (le) (rate(waypost_edge_cycle_duration_seconds_bucket${ONE}[30m])))`,
      '95 %': p95('waypost_edge_cycle_duration_seconds'),
    }),
    series('Slowest steps', '95th percentile of each step of a cycle.', 's', {
      '{{step}}': p95('waypost_edge_step_duration_seconds', ', step'),
    }),
    series('Rows', 'Loaded, verified and committed, per second.', 'rowsps', {
      rows: `sum(rate(waypost_edge_rows_loaded_total${ONE}[$__rate_interval]))`,
    }),
    series('Bytes', 'Downloaded, and the canonical bytes that came of them.', 'Bps', {
      downloaded: `sum(rate(waypost_edge_downloaded_bytes_total${ONE}[$__rate_interval]))`,
      loaded: `sum(rate(waypost_edge_raw_bytes_total${ONE}[$__rate_interval]))`,
    }),
    series(
      'Free on its disks',
      'Share of each disk.',
      'percentunit',
      { '{{disk}}': `min by (disk) (waypost_edge_disk_free_bytes${ONE} / waypost_edge_disk_size_bytes${ONE})` },
      { max: 1, runbook: 'disk-low' },
    ),
    series('Kept rows, acks set aside', 'Rows that only the device’s own rows still need; acks that central refused for good.', 'short', {
      'kept rows': `max(waypost_edge_kept_rows${ONE})`,
      'refused acks': `max(waypost_edge_refused_acks${ONE})`,
    }),
    series('Scrubs', 'Finished by result, and chunks with other rows than were verified last, per hour.', 'short', {
      '{{result}}': `sum by (result) (increase(waypost_edge_scrubs_total${ONE}[1h]))`,
      'drifted chunks': `sum(increase(waypost_edge_drifted_chunks_total${ONE}[1h]))`,
    }),
    series('Whole mirror read', 'Since then every row was read back; syncs in between read what they wrote.', 's', {
      age: `max(waypost_edge_whole_age_seconds${ONE})`,
    }),
    series('Event loop lag', '99th percentile.', 's', { lag: `max(nodejs_eventloop_lag_p99_seconds${ONE})` }),
    series('Memory', 'Resident, and the heap in use.', 'bytes', {
      resident: `max(process_resident_memory_bytes${ONE})`,
      heap: `max(nodejs_heap_size_used_bytes${ONE})`,
    }),
  ],
  closed: [
    {
      title: 'Identity and proof',
      panels: [
        stat(
          'Trust document',
          'Version that the device follows; manifests are not verified before it has enrolled.',
          `max(waypost_edge_trust_version${ONE})`,
          { width: 6, thresholds: [1, 1], lowIsBad: true, mappings: { '0': 'not verified' } },
        ),
        stat(
          'Age of central’s signature',
          'When its last answer came. It should be seconds; a tenth of MANIFEST_TTL is an alert (MANIFEST_STALE).',
          `max(waypost_edge_signature_age_seconds${ONE})`,
          { width: 6, unit: 's' },
        ),
        stat(
          'Ledger in doubt',
          'Findings that central’s ledger does not continue what the device saw of it.',
          `max(waypost_edge_ledger_forks${ONE})`,
          { width: 6, thresholds: [1, 1], runbook: 'ledger-forked' },
        ),
        stat(
          'Acks refused',
          'Acknowledgements that central refused for good, with their receipts.',
          `max(waypost_edge_refused_acks${ONE})`,
          {
            width: 6,
            thresholds: [1, 10],
          },
        ),
      ],
    },
    {
      title: 'The device’s own audit (where its database is a data source whose name contains “edge”)',
      panels: [
        {
          title: 'Cycles by hour',
          description: 'All that ever were.',
          type: 'timeseries',
          width: 12,
          bars: true,
          database: EDGE_DATABASE,
          sql: `SELECT hour AS time, status AS metric, sum(cycles) AS cycles FROM waypost.edge_cycles_by_hour WHERE $__timeFilter(hour) GROUP BY 1, 2 ORDER BY 1`,
        },
        {
          title: 'Failures by code',
          description: 'Failed cycles of the time chosen.',
          type: 'barchart',
          width: 12,
          database: EDGE_DATABASE,
          sql: `SELECT error_code, sum(failures) AS failures FROM waypost.edge_failures_by_code WHERE $__timeFilter(hour) GROUP BY 1 ORDER BY 2 DESC`,
        },
        {
          title: 'Slowest cycles',
          description: 'Of the time chosen.',
          type: 'table',
          width: 12,
          database: EDGE_DATABASE,
          sql: `SELECT started_at, status, duration_ms, rows_loaded, downloaded_bytes, error_code, manifest_id FROM waypost.edge_slowest_cycles
              WHERE $__timeFilter(started_at) LIMIT 20`,
          columns: { started_at: TIME, duration_ms: { unit: 'ms' }, downloaded_bytes: { unit: 'bytes' } },
        },
        {
          title: 'Tables that cost most',
          description: 'What was downloaded for each table in the time chosen.',
          type: 'table',
          width: 12,
          database: EDGE_DATABASE,
          sql: `SELECT table_name, sum(downloaded_bytes) AS downloaded_bytes, count(*) FILTER (WHERE action = 'loaded') AS loads, sum(abs(row_delta)) AS rows_changed
              FROM waypost.edge_table_changes WHERE $__timeFilter(started_at) GROUP BY 1 ORDER BY 2 DESC`,
          columns: { downloaded_bytes: { unit: 'bytes' } },
        },
      ],
    },
  ],
});

import { CENTRAL_DATABASE, dashboard, queryVariable } from './grafana.js';

const TIME = { unit: 'dateTimeAsIso' };
const THIS = 'mac = ${device:sqlstring}';

/** All that central knows of one device. */
export const device = dashboard({
  name: 'device',
  title: 'device',
  description: 'One device, as central’s audit knows it.',
  from: 'now-7d',
  variables: [queryVariable('device', 'Device', 'SELECT mac FROM waypost.device_status ORDER BY mac', CENTRAL_DATABASE)],
  panels: [
    {
      title: 'Age of its last verified state',
      description: 'Since central last had proof of what the device holds.',
      type: 'stat',
      width: 6,
      height: 5,
      unit: 's',
      thresholds: [3600, 86_400],
      runbook: 'device-silent',
      sql: `SELECT extract(epoch FROM verified_age)::bigint AS verified_age FROM waypost.device_status WHERE ${THIS}`,
    },
    {
      title: 'Failures in a row',
      description: 'Requests refused and syncs failed since.',
      type: 'stat',
      width: 4,
      height: 5,
      thresholds: [1, 3],
      runbook: 'repeated-failures',
      sql: `SELECT consecutive_failures FROM waypost.device_status WHERE ${THIS}`,
    },
    {
      title: 'State',
      description: 'What it proved last, what it was given last, what failed last, and what it may see.',
      type: 'table',
      width: 14,
      height: 5,
      sql: `SELECT verified_at, verified_manifest_id, verified_sequence, last_manifest_id, last_request_at, last_failure_at, last_error_code, last_error, filters::text AS filters
            FROM waypost.device_status WHERE ${THIS}`,
      columns: { verified_at: TIME, last_request_at: TIME, last_failure_at: TIME },
    },
    {
      title: 'Requests by hour',
      description: 'Polls and refusals. A gap is a time in which the device did not ask.',
      type: 'timeseries',
      width: 12,
      bars: true,
      sql: `SELECT date_trunc('hour', requested_at, 'UTC') AS time, status AS metric, count(*) AS requests FROM waypost.sync_requests
            WHERE ${THIS} AND operation = 'request' AND $__timeFilter(requested_at) GROUP BY 1, 2 ORDER BY 1`,
    },
    {
      title: 'Duration of its syncs',
      description: 'On the device, from its request to its commit.',
      type: 'timeseries',
      width: 12,
      unit: 'ms',
      sql: `SELECT completed_at AS time, result AS metric, duration_ms FROM waypost.sync_acknowledgements
            WHERE ${THIS} AND $__timeFilter(completed_at) ORDER BY 1`,
    },
    {
      title: 'Rows by table',
      description: 'Row counts of its manifests.',
      type: 'timeseries',
      width: 12,
      sql: `SELECT generated_at AS time, table_name AS metric, row_count FROM waypost.table_changes
            WHERE ${THIS} AND $__timeFilter(generated_at) ORDER BY 1`,
    },
    {
      title: 'What changed from manifest to manifest',
      description: 'Tables whose hash differs from the manifest before, with the rows that came (+) or went (−).',
      type: 'table',
      width: 12,
      sql: `SELECT generated_at, sequence, table_name, row_count, row_delta, manifest_id FROM waypost.table_changes
            WHERE ${THIS} AND changed AND $__timeFilter(generated_at) ORDER BY sequence DESC, table_name LIMIT 200`,
      columns: { generated_at: TIME },
    },
    {
      title: 'History',
      description: 'Requests, refusals and acknowledgements, the last 200 of the time chosen. Unchanged polls are left out.',
      type: 'table',
      width: 16,
      height: 10,
      sql: `SELECT at, event, outcome, reason, duration_ms, manifest_id, detail FROM waypost.device_history
            WHERE ${THIS} AND $__timeFilter(at) AND reason IS DISTINCT FROM 'unchanged' ORDER BY at DESC LIMIT 200`,
      columns: { at: TIME, duration_ms: { unit: 'ms' } },
    },
    {
      title: 'Failures by reason',
      description: 'Of the time chosen.',
      type: 'barchart',
      width: 8,
      height: 10,
      sql: `SELECT reason, count(*) AS failures FROM waypost.device_history
            WHERE ${THIS} AND $__timeFilter(at) AND outcome <> 'Issued' AND outcome <> 'Success' GROUP BY 1 ORDER BY 2 DESC`,
    },
  ],
});

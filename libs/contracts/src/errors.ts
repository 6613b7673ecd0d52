/**
 * How an error heals: `retry`, the same request later; `resnapshot`, a new manifest from central; `operator`, an operator has to act;
 * `bug`, a defect of Waypost.
 */
export type Healing = 'retry' | 'resnapshot' | 'operator' | 'bug';

interface ErrorKind {
  status: number;
  heals: Healing;
  title: string;
  hint: string;
}

/** All errors of Waypost by their stable codes. `status` is the HTTP status of an answer with this error. */
export const ERROR_KINDS = {
  // Requests
  REQUEST_INVALID: {
    status: 400,
    heals: 'operator',
    title: 'The request is not of the expected form',
    hint: 'Compare the body with docs/sync-protocol.md; the detail names each field that is wrong.',
  },
  REQUEST_NOT_JSON: {
    status: 400,
    heals: 'operator',
    title: 'The body is not JSON',
    hint: 'Send one JSON object in UTF-8 with content-type application/json.',
  },
  REQUEST_TOO_LARGE: {
    status: 413,
    heals: 'operator',
    title: 'The body is too large',
    hint: 'Requests and acknowledgements are small; look at what the client really sends.',
  },
  REQUEST_CORRUPT: {
    status: 400,
    heals: 'retry',
    title: 'The body is not the one that was sent',
    hint: 'Its Content-Digest differs: something between device and central alters bodies. The device sends it again.',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    heals: 'retry',
    title: 'The request did not arrive in time',
    hint: 'Requests are small: look at the link.',
  },
  MEDIA_TYPE_UNSUPPORTED: {
    status: 415,
    heals: 'operator',
    title: 'The content type is not supported',
    hint: 'Send content-type application/json.',
  },
  REQUEST_CROSS_SITE: {
    status: 403,
    heals: 'operator',
    title: 'A page of another site sent the request',
    hint: 'Nothing was started. A sync is started by a program, such as curl -X POST http://127.0.0.1:8081/api/sync/now. If you started none, look at what the browser on this machine has open.',
  },
  ROUTE_UNKNOWN: { status: 404, heals: 'operator', title: 'There is no such route', hint: 'See docs/sync-protocol.md for the routes.' },
  RANGE_INVALID: {
    status: 416,
    heals: 'retry',
    title: 'The range lies outside of the chunk stream',
    hint: 'Ask again without a Range header.',
  },
  DELTA_NONE: {
    status: 404,
    heals: 'retry',
    title: 'There is no delta from what the device holds',
    hint: 'Download the chunk stream of the whole table; the detail says why.',
  },
  MAC_INVALID: {
    status: 400,
    heals: 'operator',
    title: 'The MAC address is malformed',
    hint: 'Write six hex pairs, for instance 48:b0:2d:e9:c3:b7; check DEVICE_MAC on the device.',
  },
  TOO_MANY_REQUESTS: {
    status: 429,
    heals: 'retry',
    title: 'Too many failed attempts from this address',
    hint: 'Wait as long as Retry-After says. Where many devices share one address, set TRUST_PROXY or raise FAILED_ATTEMPTS_LIMIT at central (docs/security.md).',
  },
  // Identity
  AUTH_REQUIRED: {
    status: 401,
    heals: 'operator',
    title: 'The request shows no identity',
    hint: 'Enroll the device: waypost device add at central, then start the edge once with the ENROLLMENT_TOKEN that it prints.',
  },
  TOKEN_INVALID: {
    status: 401,
    heals: 'retry',
    title: 'The access token is not valid',
    hint: 'The device gets a new one by itself. Central’s log says under the same request id why this one was refused.',
  },
  CERTIFICATE_REQUIRED: {
    status: 401,
    heals: 'retry',
    title: 'The connection shows no client certificate of this device',
    hint: 'The device gets one by itself with its next access token. If this lasts, look for a proxy that ends TLS between device and central, and set TLS_CLIENT_AUTH=off there.',
  },
  ASSERTION_INVALID: {
    status: 401,
    heals: 'operator',
    title: 'What the device signed is not accepted',
    hint: 'Central’s log says why under the same request id. A device that was revoked, or lost its key, enrolls again: waypost device add.',
  },
  CLOCK_SKEWED: {
    status: 401,
    heals: 'retry',
    title: 'What the device signed is too old, or from the future',
    hint: 'The device goes by central’s clock and tries again by itself. If this lasts, compare central’s clock with a time server.',
  },
  DEVICE_PENDING: {
    status: 403,
    heals: 'retry',
    title: 'The device’s key waits for approval',
    hint: 'Compare the key’s fingerprint with the device’s log, then run at central: waypost device approve DEVICE.',
  },
  ENROLLMENT_REFUSED: {
    status: 403,
    heals: 'operator',
    title: 'The enrollment token is not accepted',
    hint: 'Make a new one at central (waypost device add) and start the edge with it as ENROLLMENT_TOKEN.',
  },
  API_KEY_REQUIRED: {
    status: 401,
    heals: 'operator',
    title: 'The request shows no API key',
    hint: 'Make one at central (waypost key add) and send it in the header X-API-Key.',
  },
  API_KEY_INVALID: {
    status: 401,
    heals: 'operator',
    title: 'The API key or token is not valid',
    hint: 'waypost key list shows which are in force. Central’s log says under the same request id why this one was refused.',
  },
  API_KEY_RIGHT_MISSING: {
    status: 403,
    heals: 'operator',
    title: 'The API key does not have this right',
    hint: 'Make a key with the right that the detail names: waypost key add --allow.',
  },
  IDENTITY_UNREADABLE: {
    status: 500,
    heals: 'operator',
    title: 'The device’s identity cannot be used',
    hint: 'Check the folder IDENTITY_DIR and its files. Where the key is lost, enroll the device again: waypost device add at central.',
  },
  // Devices
  DEVICE_UNKNOWN: {
    status: 404,
    heals: 'operator',
    title: 'No device has this MAC address',
    hint: "Register the device in the central database, or compare its MAC with the plan's scope query.",
  },
  DEVICE_INACTIVE: {
    status: 403,
    heals: 'operator',
    title: 'The device is not active',
    hint: 'The scope query\'s column "active" is not true for this device: activate it in the central database.',
  },
  DEVICE_AMBIGUOUS: {
    status: 409,
    heals: 'operator',
    title: 'More than one device has this MAC address',
    hint: "The plan's scope query must give exactly one row per device: remove the duplicate.",
  },
  // Plan
  PLAN_INVALID: {
    status: 500,
    heals: 'operator',
    title: 'The sync plan is not valid',
    hint: 'Correct the named lines, then run: npm run plan:check',
  },
  CAPTURE_REFUSED: {
    status: 500,
    heals: 'operator',
    title: 'Change capture cannot be installed by this role',
    hint: 'Run it as the tables’ owner, who needs in schema waypost: GRANT USAGE, CREATE ON SCHEMA waypost TO owner; GRANT SELECT, INSERT ON waypost.changes TO owner.',
  },
  CAPTURE_UNPROVEN: {
    status: 500,
    heals: 'operator',
    title: 'A write to a captured table was not recorded',
    hint: 'Nothing was installed. Look for what keeps the table’s triggers from firing or from writing waypost.changes: \\d of the table, pg_class.relhastriggers, roles and rights.',
  },
  NAME_INVALID: {
    status: 400,
    heals: 'operator',
    title: 'The name is not a valid SQL name',
    hint: 'Write it as in SQL: users, sales.orders, "Odd Schema"."Select".',
  },
  CONFIG_INVALID: {
    status: 500,
    heals: 'operator',
    title: 'The configuration is not valid',
    hint: 'Correct the environment variables that the detail names; docs/configuration.md lists all of them.',
  },
  PORT_IN_USE: {
    status: 500,
    heals: 'operator',
    title: 'The port is taken',
    hint: 'Stop what holds the port, or set PORT to a free one.',
  },
  // Snapshots and manifests
  ROW_TOO_LARGE: {
    status: 500,
    heals: 'operator',
    title: 'A row is too large to be mirrored',
    hint: 'Rows of up to 64 MiB can be mirrored: exclude the row or the column in the plan.',
  },
  KEY_NOT_UNIQUE: {
    status: 500,
    heals: 'operator',
    title: 'A declared key does not identify the rows',
    hint: 'Correct the rows, or name in the plan a key whose columns are never NULL and together unique. A unique index over NOT NULL columns keeps it so.',
  },
  COPY_MALFORMED: {
    status: 500,
    heals: 'bug',
    title: 'PostgreSQL sent rows of an unexpected shape',
    hint: 'If the table was altered during the read, the next cycle heals; otherwise report it with the plan and the PostgreSQL version.',
  },
  CENTRAL_BUSY: {
    status: 503,
    heals: 'retry',
    title: 'Central is at its limit of work',
    hint: 'The device asks again by itself. If this lasts, raise MAX_CONCURRENT_BUILDS or add a replica.',
  },
  SNAPSHOT_TOO_SLOW: {
    status: 503,
    heals: 'operator',
    title: 'Reading the device’s share took too long',
    hint: 'Give the plan’s conditions an index (npm run plan:check shows how each table is read), or raise BUILD_TIMEOUT.',
  },
  SHARE_SHRANK: {
    status: 409,
    heals: 'operator',
    title: 'A table of the device’s share lost more rows than MAX_SHRINK allows in one step',
    hint: 'The device keeps what it has. If rows were lost by accident, restore them; if they are meant to go: waypost release TABLE --mac MAC.',
  },
  MANIFEST_UNKNOWN: {
    status: 404,
    heals: 'resnapshot',
    title: 'There is no such manifest',
    hint: 'Ask for a new manifest: POST /api/device-sync/request.',
  },
  MANIFEST_EXPIRED: {
    status: 410,
    heals: 'resnapshot',
    title: 'The manifest has expired',
    hint: 'Ask for a new manifest: POST /api/device-sync/request.',
  },
  MANIFEST_NOT_YOURS: {
    status: 403,
    heals: 'operator',
    title: 'It belongs to another device',
    hint: 'A device gets only its own manifests: compare DEVICE_MAC with the device that is enrolled; look for two devices with one configuration.',
  },
  TABLE_NOT_IN_MANIFEST: {
    status: 404,
    heals: 'resnapshot',
    title: 'The manifest has no such table',
    hint: 'Use a table name exactly as the manifest spells it, percent-encoded.',
  },
  SNAPSHOT_MISSING: {
    status: 410,
    heals: 'resnapshot',
    title: 'The stored snapshot is gone',
    hint: 'Ask for a new manifest: central then builds the snapshot again. Check that SNAPSHOT_STORE is durable and shared by all replicas.',
  },
  TRUST_UNKNOWN: {
    status: 404,
    heals: 'operator',
    title: 'There is no such trust document',
    hint: 'waypost keys show lists the versions that central has. Where its database was restored from a backup: docs/security.md, "When a device refuses a signature".',
  },
  // What an edge refuses
  MANIFEST_INVALID: {
    status: 502,
    heals: 'resnapshot',
    title: 'The manifest is not valid',
    hint: 'Its hash or form is wrong: look for something between device and central that alters bodies.',
  },
  MANIFEST_OUT_OF_ORDER: {
    status: 409,
    heals: 'operator',
    title: 'The manifest is older than what the device already holds',
    hint: 'Central may have been restored from a backup: it starts a new epoch by itself when the device asks next. Otherwise look for a replayed answer.',
  },
  MANIFEST_UNTRUSTED: {
    status: 502,
    heals: 'operator',
    title: 'The manifest is not signed by a key that the device trusts',
    hint: 'Nothing was changed; the device keeps what it has. See "When a device refuses a signature" in docs/security.md.',
  },
  MANIFEST_STALE: {
    status: 502,
    heals: 'operator',
    title: 'Central’s signature is older than it should be',
    hint: 'Something between device and central may send old answers again; or central’s clock went back. The data stays as it is. Look at the proxies on the way, and at central’s clock.',
  },
  LEDGER_INVALID: {
    status: 502,
    heals: 'operator',
    title: 'The ledger’s checkpoint, proof or hashes are not valid',
    hint: 'Compare the keys that are trusted here with those that the ledger signs with. Where they are the same, the ledger was damaged or altered: keep the copies of its checkpoints.',
  },
  LEDGER_NOT_FOUND: {
    status: 404,
    heals: 'retry',
    title: 'The ledger has no such entry or tile',
    hint: 'What was just acknowledged is in it a moment later. A device gets its own entries alone; central’s waypost ledger verify checks all of them.',
  },
  LEDGER_FORKED: {
    status: 409,
    heals: 'operator',
    title: 'Central’s ledger does not continue what the device saw of it before',
    hint: 'Central’s database was restored to an earlier state, or its ledger was altered. The device keeps both checkpoints in waypost.edge_ledger_forks; docs/ledger.md says how to judge them.',
  },
  RECEIPT_INVALID: {
    status: 422,
    heals: 'operator',
    title: 'A device’s receipt is not accepted',
    hint: 'The device keeps it. Look for two machines with one identity, and compare fleet and device of the detail with waypost device show.',
  },
  SCHEMA_VERSION_MISMATCH: {
    status: 409,
    heals: 'operator',
    title: 'The schema version is not the one this device is configured for',
    hint: 'Migrate the device’s services and set SCHEMA_VERSION, or correct schemaVersion in the plan. The data stays as it is until then.',
  },
  SCHEMA_MISMATCH: {
    status: 409,
    heals: 'operator',
    title: 'A local table or type differs from the manifest’s',
    hint: 'Alter it as the detail says, or drop the table: the next cycle creates it again.',
  },
  TABLE_NOT_OURS: {
    status: 409,
    heals: 'operator',
    title: 'A table of the manifest holds rows of the device’s own',
    hint: 'Nothing was changed. Hand the table over with `waypost adopt`, rename it, or leave it out of the plan.',
  },
  LOAD_REFUSED: {
    status: 409,
    heals: 'operator',
    title: 'The device’s database refuses rows that central has',
    hint: 'Remove what central does not have: the local constraint, trigger or rule that the detail names; check that the service’s database user owns the table.',
  },
  MIRROR_ALTERED: {
    status: 409,
    heals: 'resnapshot',
    title: 'A mirrored table was altered during the cycle',
    hint: 'The cycle starts over by itself. If this lasts, look for what drops or alters mirrored tables on the device.',
  },
  MIRROR_DRIFTED: {
    status: 409,
    heals: 'retry',
    title: 'Rows of the mirror are not those that were verified last',
    hint: 'They are replaced by themselves. Look for what writes to mirrored tables on the device.',
  },
  LOCAL_REFERENCE: {
    status: 409,
    heals: 'operator',
    title: 'Rows of the device’s own reference mirrored rows that have to go',
    hint: 'Remove the references that the detail names, or let the plan keep such rows (onReferenced: keep). With LOAD_STRATEGY=truncate no local table may reference a mirrored one: use auto.',
  },
  SIDE_EFFECT: {
    status: 409,
    heals: 'operator',
    title: 'The sync would have written to a table that it does not mean to change',
    hint: 'Everything was rolled back. Drop or disable the trigger, rule or foreign key action that the detail names. A table of the device’s own that triggers of mirrored tables may write to is declared in SIDE_EFFECT_TABLES.',
  },
  CHUNK_CORRUPT: {
    status: 502,
    heals: 'retry',
    title: 'A chunk stream is damaged',
    hint: 'Nothing was changed; the device downloads the damaged part again. If this lasts, look at the link; at central, waypost store check --repair forgets what SNAPSHOT_STORE has damaged.',
  },
  TRANSFER_STALLED: {
    status: 504,
    heals: 'retry',
    title: 'The transfer made no progress',
    hint: 'The device resumes where it stopped. If this lasts, look at the link.',
  },
  DEADLINE_EXCEEDED: {
    status: 504,
    heals: 'retry',
    title: 'The transfer was not done within its deadline',
    hint: 'What has arrived is kept, and the next cycle resumes there. If this lasts, look at the link, or raise the deadline that the detail names.',
  },
  CENTRAL_UNREACHABLE: {
    status: 502,
    heals: 'retry',
    title: 'Central cannot be reached',
    hint: 'The device keeps trying; its data stays readable. Check CENTRAL_URL, the network and central’s /health.',
  },
  CENTRAL_UNTRUSTED: {
    status: 502,
    heals: 'operator',
    title: 'What answers at CENTRAL_URL is not known to be central',
    hint: 'Compare central’s certificate with CENTRAL_URL, CENTRAL_CA and CENTRAL_FINGERPRINT. Nothing was sent there; the device keeps what it has.',
  },
  CENTRAL_REFUSED: {
    status: 502,
    heals: 'operator',
    title: 'Central refused the request',
    hint: 'The detail holds central’s own code and hint.',
  },
  VERIFICATION_FAILED: {
    status: 500,
    heals: 'retry',
    title: 'What the edge database holds after loading is not what the manifest says',
    hint: 'Everything was rolled back. Look for triggers, rules or row-level security on the named table.',
  },
  LOCK_TIMEOUT: {
    status: 503,
    heals: 'retry',
    title: 'A table stayed locked by other sessions',
    hint: "Look for long transactions in the database: SELECT * FROM pg_stat_activity WHERE state <> 'idle' ORDER BY xact_start.",
  },
  NOTHING_HELD: {
    status: 409,
    heals: 'retry',
    title: 'The device holds nothing yet',
    hint: 'Sync first: POST /api/sync/now.',
  },
  SCRUB_RUNNING: {
    status: 409,
    heals: 'retry',
    title: 'A scrub that was asked for is already running',
    hint: 'Wait for it: GET /api/sync/status has it as lastScrub when it is done.',
  },
  SYNC_RUNNING: {
    status: 409,
    heals: 'retry',
    title: 'A sync is already running',
    hint: 'Wait for it: GET /api/sync/status.',
  },
  SHUTTING_DOWN: { status: 503, heals: 'retry', title: 'The service is stopping', hint: 'Try again when it has restarted.' },
  DATA_NOT_READY: {
    status: 503,
    heals: 'retry',
    title: 'No verified data is here yet',
    hint: 'The first sync has not been committed. GET /api/sync/status tells how it is going.',
  },
  DATABASE_UNAVAILABLE: {
    status: 503,
    heals: 'retry',
    title: 'The database does not answer',
    hint: 'Check DATABASE_URL and that the server accepts connections; the service heals by itself.',
  },
  DATABASE_RIGHTS_MISSING: {
    status: 503,
    heals: 'operator',
    title: 'The database role lacks a right',
    hint: 'Run the GRANT that the detail or the log names as the owner of the database; docs/deploy.md lists all rights.',
  },
  DATABASE_READ_ONLY: {
    status: 503,
    heals: 'retry',
    title: 'The database takes no writes',
    hint: 'It is a standby or still recovering, or default_transaction_read_only is on: promote it, correct DATABASE_URL, or switch the setting off. The service then heals by itself.',
  },
  DATABASE_FULL: {
    status: 503,
    heals: 'retry',
    title: 'The database’s disk is full',
    hint: 'Free space on the disk of the database server; open transactions were rolled back, and the service heals by itself.',
  },
  WRONG_DATABASE: {
    status: 409,
    heals: 'operator',
    title: 'The database belongs to the other service',
    hint: 'Central and each device need a database of their own: correct the DATABASE_URL that the detail names.',
  },
  DATABASE_REPLACED: {
    status: 503,
    heals: 'retry',
    title: 'The database was replaced while the service ran',
    hint: 'The service made its tables again and went on. If nothing of the device was to be dropped, find out who replaced its database.',
  },
  STORAGE_FAILED: {
    status: 500,
    heals: 'operator',
    title: 'Files could not be written or read',
    hint: 'Check free space and permissions of the folder that the detail names.',
  },
  FAULT_INJECTED: {
    status: 500,
    heals: 'retry',
    title: 'A test made the service fail here',
    hint: 'Start the service without WAYPOST_FAULTS.',
  },
  INTERNAL: {
    status: 500,
    heals: 'bug',
    title: 'Something unexpected went wrong',
    hint: 'The log has the details under the same request id.',
  },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_KINDS;

interface ErrorOptions {
  /** What happened here: names, sizes, positions. Never a secret, never row data. */
  detail?: string;
  /** Replaces the code's general hint. */
  hint?: string;
  cause?: unknown;
}

/** The only error class that Waypost throws. It keeps its cause and is logged once, at the boundary. */
export class WaypostError extends Error {
  override readonly name = 'WaypostError';
  readonly detail: string | undefined;
  readonly hint: string;

  constructor(
    readonly code: ErrorCode,
    options: ErrorOptions = {},
  ) {
    const kind = ERROR_KINDS[code];
    super(options.detail ?? `${kind.title}.`, options.cause === undefined ? undefined : { cause: options.cause });
    this.detail = options.detail;
    this.hint = options.hint ?? kind.hint;
  }

  get status(): number {
    return ERROR_KINDS[this.code].status;
  }

  get heals(): Healing {
    return ERROR_KINDS[this.code].heals;
  }
}

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE meta (
	name TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE transfers (
	id TEXT NOT NULL,
	queue TEXT,
	message_id TEXT,
	source TEXT NOT NULL,
	destination TEXT NOT NULL,
	canonical TEXT,
	directory TEXT,
	route TEXT,
	state TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	failures INTEGER NOT NULL,
	source_changes INTEGER NOT NULL,
	epoch BIGINT,
	owner TEXT,
	plan_complete BOOLEAN NOT NULL,
	renames_possible BOOLEAN NOT NULL,
	objects_planned BIGINT NOT NULL,
	bytes_planned BIGINT NOT NULL,
	markers BIGINT NOT NULL,
	publish_mode TEXT,
	code TEXT,
	reason TEXT,
	first_seen_at BIGINT NOT NULL,
	started_at BIGINT,
	updated_at BIGINT NOT NULL,
	finished_at BIGINT,
	duration_us BIGINT, policy TEXT, event_bucket TEXT, event_key TEXT, sequencer TEXT, engine TEXT, engine_reason TEXT, held_by TEXT, held_since BIGINT, retry_at BIGINT, body_digest TEXT, has_letter BOOLEAN DEFAULT 0 NOT NULL, sender TEXT, traceparent TEXT, aws_trace_header TEXT, sent_at BIGINT, bytes_copied BIGINT, sent_again_as TEXT, sent_again_at BIGINT, settled_at BIGINT, settled_how TEXT, settled_transfer TEXT, pruned_at BIGINT, pruned_by TEXT, egress_copy BIGINT DEFAULT '0' NOT NULL, egress_retry BIGINT DEFAULT '0' NOT NULL, egress_verify BIGINT DEFAULT '0' NOT NULL, completion_marker TEXT, table_format TEXT, replies TEXT, holds_reported INTEGER DEFAULT '0' NOT NULL, is_hold_reported BOOLEAN DEFAULT 0 NOT NULL, openlineage_parent TEXT,
	PRIMARY KEY (id),
	CONSTRAINT uq_transfers_message UNIQUE (queue, message_id)
)
 WITHOUT ROWID;
CREATE TABLE destinations (
	uri TEXT NOT NULL,
	epoch BIGINT NOT NULL,
	staging_root TEXT,
	owner_transfer TEXT,
	owner TEXT,
	intent_transfer TEXT,
	intent_at BIGINT,
	PRIMARY KEY (uri),
	FOREIGN KEY(owner_transfer) REFERENCES transfers (id)
)
 WITHOUT ROWID;
CREATE INDEX ix_destinations_owner_transfer ON destinations (owner_transfer) WHERE owner_transfer IS NOT NULL;
CREATE TABLE objects (
	transfer_id TEXT NOT NULL,
	seq BIGINT NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	version_id TEXT,
	etag TEXT NOT NULL,
	size_bytes BIGINT NOT NULL,
	last_modified BIGINT NOT NULL,
	relative TEXT NOT NULL,
	epoch BIGINT,
	crc32c TEXT,
	proof TEXT,
	algorithm TEXT,
	checksum TEXT,
	seen_version_id TEXT,
	modified_ms BIGINT, checksum_type TEXT, target_algorithm TEXT, target_checksum TEXT, asked TEXT, note TEXT, bytes_read BIGINT, proven_at BIGINT,
	PRIMARY KEY (transfer_id, seq),
	FOREIGN KEY(transfer_id) REFERENCES transfers (id)
)
 WITHOUT ROWID;
CREATE TABLE published (
	uri TEXT NOT NULL,
	transfer_id TEXT NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	version_id TEXT,
	etag TEXT NOT NULL,
	size_bytes BIGINT NOT NULL,
	last_modified BIGINT NOT NULL,
	crc32c TEXT NOT NULL,
	modified_ms BIGINT NOT NULL,
	PRIMARY KEY (uri)
)
 WITHOUT ROWID;
CREATE TABLE journal (
	number INTEGER NOT NULL,
	transfer_id TEXT NOT NULL,
	at BIGINT NOT NULL,
	state TEXT NOT NULL,
	epoch BIGINT,
	attempt INTEGER NOT NULL,
	code TEXT,
	reason TEXT,
	PRIMARY KEY (number),
	FOREIGN KEY(transfer_id) REFERENCES transfers (id)
);
CREATE INDEX ix_journal_transfer_id ON journal (transfer_id);
CREATE TABLE sequencers (
	uri TEXT NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	sequencer TEXT NOT NULL,
	transfer_id TEXT NOT NULL,
	PRIMARY KEY (uri, bucket, "key")
)
 WITHOUT ROWID;
CREATE TABLE nonces (
	nonce TEXT NOT NULL,
	queue TEXT NOT NULL,
	message_id TEXT NOT NULL,
	keep_until BIGINT NOT NULL,
	PRIMARY KEY (nonce)
)
 WITHOUT ROWID;
CREATE INDEX ix_nonces_keep_until ON nonces (keep_until);
CREATE TABLE seals (
	number INTEGER NOT NULL,
	transfer_id TEXT NOT NULL,
	line TEXT NOT NULL,
	seal TEXT NOT NULL,
	PRIMARY KEY (number),
	UNIQUE (transfer_id)
);
CREATE TABLE litter (
	staging_root TEXT NOT NULL,
	uri TEXT NOT NULL,
	transfer_id TEXT NOT NULL,
	epoch BIGINT NOT NULL,
	claimed_at BIGINT NOT NULL,
	route TEXT,
	PRIMARY KEY (staging_root)
)
 WITHOUT ROWID;
CREATE INDEX ix_litter_uri ON litter (uri);
CREATE INDEX ix_transfers_renames_possible ON transfers (id) WHERE renames_possible;
CREATE TABLE jobs (
	transfer_id TEXT NOT NULL,
	epoch BIGINT NOT NULL,
	tag TEXT NOT NULL,
	destination TEXT NOT NULL,
	application_id TEXT,
	state TEXT NOT NULL,
	reason TEXT,
	tracking_url TEXT,
	maps_done INTEGER,
	maps INTEGER,
	size_bytes BIGINT,
	opened_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	closed_at BIGINT, counters TEXT,
	PRIMARY KEY (transfer_id, epoch),
	FOREIGN KEY(transfer_id) REFERENCES transfers (id)
)
 WITHOUT ROWID;
CREATE INDEX ix_jobs_open ON jobs (transfer_id) WHERE closed_at IS NULL;
CREATE INDEX ix_transfers_open ON transfers (first_seen_at) WHERE finished_at IS NULL;
CREATE INDEX ix_transfers_dead ON transfers (finished_at) WHERE state = 'dead';
CREATE TABLE agents (
	id TEXT NOT NULL,
	host TEXT NOT NULL,
	owner TEXT NOT NULL,
	version TEXT NOT NULL,
	queue TEXT NOT NULL,
	region TEXT NOT NULL,
	slots INTEGER NOT NULL,
	started_at BIGINT NOT NULL,
	beats BIGINT NOT NULL,
	beat_at BIGINT NOT NULL,
	ended_at BIGINT,
	report TEXT NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE activity (
	span_s INTEGER NOT NULL,
	begins_at BIGINT NOT NULL,
	route TEXT NOT NULL,
	done BIGINT NOT NULL,
	dead BIGINT NOT NULL,
	failed BIGINT NOT NULL,
	objects BIGINT NOT NULL,
	bytes_done BIGINT NOT NULL,
	bytes_copied BIGINT NOT NULL,
	lags BIGINT NOT NULL,
	lag_us BIGINT NOT NULL,
	lag_max_us BIGINT NOT NULL,
	PRIMARY KEY (span_s, begins_at, route)
)
 WITHOUT ROWID;
CREATE TABLE operator_actions (
	number INTEGER NOT NULL,
	at BIGINT NOT NULL,
	operator TEXT NOT NULL,
	origin TEXT NOT NULL,
	action TEXT NOT NULL,
	subject TEXT NOT NULL,
	transfers BIGINT NOT NULL,
	size_bytes BIGINT NOT NULL,
	outcome TEXT NOT NULL,
	PRIMARY KEY (number)
);
CREATE TABLE paused_routes (
	route TEXT NOT NULL,
	since BIGINT NOT NULL,
	until BIGINT,
	operator TEXT NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (route)
)
 WITHOUT ROWID;
CREATE TABLE reconcile_sent (
	uri TEXT NOT NULL,
	route TEXT NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	etag TEXT NOT NULL,
	queue TEXT NOT NULL,
	message_id TEXT,
	sent_at BIGINT NOT NULL,
	PRIMARY KEY (uri)
)
 WITHOUT ROWID;
CREATE INDEX ix_reconcile_sent_route ON reconcile_sent (route);
CREATE TABLE reconciliations (
	route TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL,
	totals TEXT NOT NULL,
	PRIMARY KEY (route)
)
 WITHOUT ROWID;
CREATE TABLE expectations (
	route TEXT NOT NULL,
	name TEXT NOT NULL,
	deadline BIGINT NOT NULL,
	due TEXT NOT NULL,
	place TEXT NOT NULL,
	state TEXT NOT NULL,
	wanted_objects BIGINT,
	wanted_bytes BIGINT,
	wanted_transfers BIGINT,
	objects BIGINT NOT NULL,
	size_bytes BIGINT NOT NULL,
	transfers BIGINT NOT NULL,
	judged_at BIGINT,
	arrived_at BIGINT, calendar TEXT DEFAULT '' NOT NULL, counted BOOLEAN DEFAULT 1 NOT NULL,
	PRIMARY KEY (route, name, deadline)
)
 WITHOUT ROWID;
CREATE INDEX ix_transfers_done ON transfers (route, finished_at) WHERE state = 'done';
CREATE INDEX ix_transfers_canonical ON transfers (canonical, id) WHERE canonical IS NOT NULL;
CREATE INDEX ix_transfers_source ON transfers (source, id);
CREATE INDEX ix_transfers_refused ON transfers (destination, id, state, canonical) WHERE state = 'dead' AND canonical IS NULL;
CREATE INDEX ix_transfers_dead_open ON transfers (finished_at) WHERE state = 'dead' AND settled_at IS NULL;
CREATE INDEX ix_transfers_dead_source ON transfers (source) WHERE state = 'dead' AND settled_at IS NULL;
CREATE TABLE egress (
	day TEXT NOT NULL,
	route TEXT NOT NULL,
	sender TEXT NOT NULL,
	purpose TEXT NOT NULL,
	engine TEXT NOT NULL,
	bytes BIGINT NOT NULL,
	PRIMARY KEY (day, route, sender, purpose, engine)
)
 WITHOUT ROWID;
CREATE TABLE endings (
	day TEXT NOT NULL,
	route TEXT NOT NULL,
	sender TEXT NOT NULL,
	done BIGINT NOT NULL,
	dead BIGINT NOT NULL,
	objects BIGINT NOT NULL,
	PRIMARY KEY (day, route, sender)
)
 WITHOUT ROWID;
CREATE TABLE completion_markers (
	uri TEXT NOT NULL,
	transfer_id TEXT NOT NULL,
	published_at BIGINT NOT NULL,
	PRIMARY KEY (uri)
)
 WITHOUT ROWID;
CREATE TABLE replies (
	"key" TEXT NOT NULL,
	target TEXT NOT NULL,
	transfer_id TEXT NOT NULL,
	event TEXT NOT NULL,
	body TEXT NOT NULL,
	state TEXT NOT NULL,
	tries INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	tried_since BIGINT NOT NULL,
	due_at BIGINT NOT NULL,
	ended_at BIGINT,
	code TEXT,
	reason TEXT,
	PRIMARY KEY ("key", target),
	FOREIGN KEY(transfer_id) REFERENCES transfers (id)
)
 WITHOUT ROWID;
CREATE INDEX ix_replies_transfer_id ON replies (transfer_id);
CREATE INDEX ix_replies_waiting ON replies (target, due_at, "key") WHERE state = 'waiting';
CREATE INDEX ix_replies_dead ON replies (target) WHERE state = 'dead';
CREATE TABLE packed_paths (
	first_uri TEXT NOT NULL,
	last_uri TEXT NOT NULL,
	files INTEGER NOT NULL,
	block BLOB NOT NULL,
	PRIMARY KEY (first_uri)
)
 WITHOUT ROWID;
CREATE INDEX ix_transfers_superseded ON transfers (finished_at, route) WHERE state = 'superseded';
CREATE TABLE budget_raises (
	number INTEGER NOT NULL,
	route TEXT NOT NULL,
	period BIGINT NOT NULL,
	per TEXT NOT NULL,
	unit TEXT NOT NULL,
	amount BIGINT NOT NULL,
	at BIGINT NOT NULL,
	operator TEXT NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (number)
);
CREATE INDEX ix_budget_raises_period ON budget_raises (period);
CREATE TABLE budget_warnings (
	route TEXT NOT NULL,
	per TEXT NOT NULL,
	unit TEXT NOT NULL,
	period BIGINT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (route, per, unit, period)
)
 WITHOUT ROWID;
CREATE TABLE members (
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	host TEXT NOT NULL,
	process TEXT NOT NULL,
	version TEXT NOT NULL,
	beats BIGINT NOT NULL,
	beat_at BIGINT NOT NULL,
	started_at BIGINT NOT NULL,
	ended_at BIGINT,
	judged_at BIGINT,
	judged_by TEXT,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE route_starts (
	route TEXT NOT NULL,
	at BIGINT NOT NULL,
	transfer_id TEXT NOT NULL,
	PRIMARY KEY (route, at, transfer_id)
)
 WITHOUT ROWID;
CREATE TABLE rate_shares (
	member TEXT NOT NULL,
	configured BIGINT NOT NULL,
	demand BIGINT NOT NULL,
	kept BIGINT NOT NULL,
	granted BIGINT NOT NULL,
	bound BIGINT NOT NULL,
	PRIMARY KEY (member),
	CONSTRAINT granted_is_bound CHECK (granted >= 0 AND granted <= bound)
)
 WITHOUT ROWID;
CREATE TABLE byte_rates (
	name TEXT NOT NULL,
	bytes_per_s BIGINT,
	until BIGINT,
	PRIMARY KEY (name)
)
 WITHOUT ROWID;

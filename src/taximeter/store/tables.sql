CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE counters (
  name TEXT NOT NULL,
  value BIGINT NOT NULL,
  CONSTRAINT pk_counters PRIMARY KEY (name)
);

CREATE TABLE events (
  seq INTEGER NOT NULL,
  id TEXT NOT NULL,
  recorded_at BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  provider TEXT NOT NULL,
  api TEXT NOT NULL,
  outcome TEXT NOT NULL,
  project TEXT,
  session TEXT,
  turn TEXT,
  user_id TEXT,
  operation TEXT,
  request_model TEXT,
  response_model TEXT,
  response_id TEXT,
  service_tier TEXT,
  stream BOOLEAN,
  status BIGINT,
  has_error BOOLEAN NOT NULL,
  error_type TEXT,
  error_code TEXT,
  error_message TEXT,
  finish_reason TEXT,
  usage_source TEXT NOT NULL,
  usage TEXT,
  input_tokens BIGINT,
  output_tokens BIGINT,
  cache_read_tokens BIGINT,
  cache_write_tokens BIGINT,
  cache_write_5m_tokens BIGINT,
  cache_write_1h_tokens BIGINT,
  output_reasoning_tokens BIGINT,
  cost_hi BIGINT,
  cost_lo BIGINT,
  raw_usage TEXT,
  contradictions TEXT,
  provider_cost_hi BIGINT,
  provider_cost_lo BIGINT,
  first_token_ms BIGINT,
  duration_ms BIGINT,
  attempt BIGINT NOT NULL,
  CONSTRAINT pk_events PRIMARY KEY (seq),
  CONSTRAINT uq_events_id UNIQUE (id)
);

CREATE INDEX ix_events_started_at ON events (started_at);

CREATE TABLE virtual_keys (
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  hash TEXT NOT NULL,
  old_hash TEXT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT,
  old_until BIGINT,
  last_used_at BIGINT,
  grants TEXT NOT NULL,
  CONSTRAINT pk_virtual_keys PRIMARY KEY (id),
  CONSTRAINT uq_virtual_keys_hash UNIQUE (hash)
);

CREATE TABLE contents (
  event_seq INTEGER NOT NULL,
  user_message TEXT,
  answer TEXT,
  tool_arguments TEXT,
  CONSTRAINT pk_contents PRIMARY KEY (event_seq),
  CONSTRAINT fk_contents_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
);

CREATE TABLE corrections (
  seq INTEGER NOT NULL,
  id TEXT NOT NULL,
  event_seq BIGINT NOT NULL,
  recorded_at BIGINT NOT NULL,
  reason TEXT NOT NULL,
  usage_source TEXT NOT NULL,
  usage TEXT,
  input_tokens BIGINT,
  output_tokens BIGINT,
  cache_read_tokens BIGINT,
  cache_write_tokens BIGINT,
  cache_write_5m_tokens BIGINT,
  cache_write_1h_tokens BIGINT,
  output_reasoning_tokens BIGINT,
  cost_hi BIGINT,
  cost_lo BIGINT,
  CONSTRAINT pk_corrections PRIMARY KEY (seq),
  CONSTRAINT uq_corrections_id UNIQUE (id),
  CONSTRAINT fk_corrections_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
);

CREATE INDEX ix_corrections_event_seq_seq ON corrections (event_seq, seq);

CREATE TABLE parts (
  event_seq BIGINT NOT NULL,
  record_seq BIGINT NOT NULL,
  position BIGINT NOT NULL,
  model TEXT,
  kind TEXT NOT NULL,
  billed BOOLEAN NOT NULL,
  usage TEXT,
  input_tokens BIGINT,
  output_tokens BIGINT,
  cache_read_tokens BIGINT,
  cache_write_tokens BIGINT,
  cache_write_5m_tokens BIGINT,
  cache_write_1h_tokens BIGINT,
  output_reasoning_tokens BIGINT,
  cost_hi BIGINT,
  cost_lo BIGINT,
  price TEXT,
  calls SMALLINT NOT NULL,
  unpriced SMALLINT NOT NULL,
  sole_model BOOLEAN NOT NULL,
  CONSTRAINT pk_parts PRIMARY KEY (event_seq, record_seq, position),
  CONSTRAINT fk_parts_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE sole_parts (
  event_seq INTEGER NOT NULL,
  kind TEXT NOT NULL,
  price TEXT,
  CONSTRAINT pk_sole_parts PRIMARY KEY (event_seq),
  CONSTRAINT fk_sole_parts_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
);

CREATE TABLE tags (
  event_seq BIGINT NOT NULL,
  position BIGINT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  in_force BOOLEAN NOT NULL,
  CONSTRAINT pk_tags PRIMARY KEY (event_seq, position),
  CONSTRAINT fk_tags_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE tool_calls (
  event_seq BIGINT NOT NULL,
  position BIGINT NOT NULL,
  id TEXT,
  name TEXT NOT NULL,
  argument_bytes BIGINT NOT NULL,
  CONSTRAINT pk_tool_calls PRIMARY KEY (event_seq, position),
  CONSTRAINT fk_tool_calls_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE tool_results (
  event_seq BIGINT NOT NULL,
  position BIGINT NOT NULL,
  id TEXT NOT NULL,
  name TEXT,
  duration_ms BIGINT,
  failed BOOLEAN,
  result_bytes BIGINT NOT NULL,
  CONSTRAINT pk_tool_results PRIMARY KEY (event_seq, position),
  CONSTRAINT fk_tool_results_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE unit_counts (
  event_seq BIGINT NOT NULL,
  record_seq BIGINT NOT NULL,
  position BIGINT NOT NULL,
  unit TEXT NOT NULL,
  whole BOOLEAN NOT NULL,
  amount BIGINT,
  exact TEXT,
  CONSTRAINT pk_unit_counts PRIMARY KEY (event_seq, record_seq, position, unit),
  CONSTRAINT fk_unit_counts_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq) ON DELETE CASCADE
)
 WITHOUT ROWID;

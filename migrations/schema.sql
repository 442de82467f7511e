-- Made by migrations/snapshot.py; not to be edited.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE attempts (
	id INTEGER NOT NULL, 
	page_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	engine TEXT NOT NULL, 
	model_revision TEXT DEFAULT '' NOT NULL, 
	prompt_mode TEXT DEFAULT '' NOT NULL, 
	sampling TEXT DEFAULT '{}' NOT NULL, 
	dpi FLOAT DEFAULT '0' NOT NULL, 
	tokens INTEGER DEFAULT '0' NOT NULL, 
	seconds FLOAT DEFAULT '0' NOT NULL, 
	verdict VARCHAR(12) NOT NULL, 
	reason_code VARCHAR(32) DEFAULT '' NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	ended_at FLOAT NOT NULL, 
	result_id INTEGER, rung VARCHAR(16) DEFAULT '' NOT NULL, cause VARCHAR(16) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT fk_attempts_page_id FOREIGN KEY(page_id) REFERENCES pages (id) ON DELETE CASCADE, 
	CONSTRAINT fk_attempts_result_id FOREIGN KEY(result_id) REFERENCES results (id), 
	CONSTRAINT uq_attempts_page_id_number UNIQUE (page_id, number)
);
CREATE TABLE commands (
	id INTEGER NOT NULL, 
	verb TEXT NOT NULL, 
	arguments TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	done_at FLOAT, 
	answer TEXT DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_commands PRIMARY KEY (id)
);
CREATE TABLE counts (
	kind VARCHAR(12) NOT NULL, 
	value VARCHAR(12) NOT NULL, 
	n INTEGER NOT NULL, 
	CONSTRAINT pk_counts PRIMARY KEY (kind, value)
);
CREATE TABLE daemon (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	CONSTRAINT pk_daemon PRIMARY KEY ("key")
);
CREATE TABLE documents (
	id INTEGER NOT NULL, 
	inbox TEXT NOT NULL, 
	path BLOB NOT NULL, 
	name TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	current BOOLEAN NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	fingerprint VARCHAR(16) NOT NULL, 
	media_type VARCHAR(40) NOT NULL, 
	size INTEGER NOT NULL, 
	mtime_ns INTEGER NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	reason_code VARCHAR(32) DEFAULT '' NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	pages INTEGER NOT NULL, 
	pages_done INTEGER DEFAULT '0' NOT NULL, 
	priority INTEGER DEFAULT '0' NOT NULL, 
	overwrite BOOLEAN DEFAULT '0' NOT NULL, 
	reread BOOLEAN DEFAULT '0' NOT NULL, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	seconds FLOAT DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_documents PRIMARY KEY (id), 
	CONSTRAINT ck_documents_state CHECK (state IN ('queued', 'running', 'done', 'partial', 'failed', 'rejected', 'cancelled')), 
	CONSTRAINT uq_documents_path_revision UNIQUE (path, revision)
);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	document_id INTEGER NOT NULL, 
	page INTEGER, 
	old VARCHAR(12) NOT NULL, 
	new VARCHAR(12) NOT NULL, 
	why TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (id), 
	CONSTRAINT fk_events_document_id FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE CASCADE
);
CREATE TABLE outputs (
	path BLOB NOT NULL, 
	document_id INTEGER NOT NULL, 
	format VARCHAR(12) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	planned_sha256 VARCHAR(64) DEFAULT '' NOT NULL, 
	written_at FLOAT NOT NULL, 
	CONSTRAINT pk_outputs PRIMARY KEY (path), 
	CONSTRAINT fk_outputs_document_id FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE CASCADE
);
CREATE TABLE pages (
	id INTEGER NOT NULL, 
	document_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	verdict VARCHAR(12) DEFAULT '' NOT NULL, 
	reason_code VARCHAR(32) DEFAULT '' NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	claims INTEGER DEFAULT '0' NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	result_id INTEGER, 
	finished_at FLOAT, ladder_from INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_pages PRIMARY KEY (id), 
	CONSTRAINT ck_pages_state CHECK (state IN ('pending', 'running', 'parked', 'done', 'blank', 'failed', 'cancelled')), 
	CONSTRAINT fk_pages_document_id FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE CASCADE, 
	CONSTRAINT fk_pages_result_id FOREIGN KEY(result_id) REFERENCES results (id), 
	CONSTRAINT uq_pages_document_id_number UNIQUE (document_id, number)
);
CREATE TABLE relocations (
	id INTEGER NOT NULL, 
	document_id INTEGER NOT NULL, 
	source BLOB NOT NULL, 
	target BLOB, 
	CONSTRAINT pk_relocations PRIMARY KEY (id), 
	CONSTRAINT fk_relocations_document_id FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE CASCADE
);
CREATE TABLE results (
	id INTEGER NOT NULL, 
	body BLOB NOT NULL, 
	CONSTRAINT pk_results PRIMARY KEY (id)
);
CREATE VIRTUAL TABLE search_words USING fts5(stems, content='', tokenize='ascii');
CREATE TABLE searched (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	result_id INTEGER NOT NULL, 
	done BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT fk_searched_result_id FOREIGN KEY(result_id) REFERENCES results (id) ON DELETE CASCADE, 
	CONSTRAINT uq_searched_result_id UNIQUE (result_id)
);
CREATE TABLE server_starts (
	id INTEGER NOT NULL, 
	model TEXT NOT NULL, 
	image_id TEXT NOT NULL, 
	spec VARCHAR(16) NOT NULL, 
	started_at FLOAT NOT NULL, 
	seconds FLOAT NOT NULL, 
	failure VARCHAR(32) DEFAULT '' NOT NULL, 
	message TEXT DEFAULT '' NOT NULL, 
	details TEXT DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_server_starts PRIMARY KEY (id)
);
CREATE INDEX ix_commands_open ON commands (id) WHERE done_at IS NULL;
CREATE INDEX ix_documents_claim ON documents (priority DESC, id) WHERE state = 'queued';
CREATE INDEX ix_documents_content ON documents (sha256, fingerprint);
CREATE INDEX ix_documents_inbox ON documents (inbox) WHERE current;
CREATE INDEX ix_documents_state ON documents (state);
CREATE INDEX ix_events_document_id ON events (document_id);
CREATE INDEX ix_outputs_document_id ON outputs (document_id);
CREATE INDEX ix_pages_finished_at ON pages (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX ix_pages_pending ON pages (document_id, number) WHERE state = 'pending';
CREATE INDEX ix_pages_result_id ON pages (result_id);
CREATE INDEX ix_pages_running ON pages (document_id, number) WHERE state = 'running';
CREATE TRIGGER count_document_insert AFTER INSERT ON documents BEGIN INSERT INTO counts (kind, value, n) VALUES ('document', NEW.state, 1) ON CONFLICT (kind, value) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER count_document_delete AFTER DELETE ON documents BEGIN UPDATE counts SET n = n - 1 WHERE kind = 'document' AND value = OLD.state; END;
CREATE TRIGGER count_document_update AFTER UPDATE OF state ON documents WHEN OLD.state <> NEW.state BEGIN UPDATE counts SET n = n - 1 WHERE kind = 'document' AND value = OLD.state; INSERT INTO counts (kind, value, n) VALUES ('document', NEW.state, 1) ON CONFLICT (kind, value) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER count_page_insert AFTER INSERT ON pages BEGIN INSERT INTO counts (kind, value, n) VALUES ('page', NEW.state, 1) ON CONFLICT (kind, value) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER count_page_delete AFTER DELETE ON pages BEGIN UPDATE counts SET n = n - 1 WHERE kind = 'page' AND value = OLD.state; END;
CREATE TRIGGER count_page_update AFTER UPDATE OF state ON pages WHEN OLD.state <> NEW.state BEGIN UPDATE counts SET n = n - 1 WHERE kind = 'page' AND value = OLD.state; INSERT INTO counts (kind, value, n) VALUES ('page', NEW.state, 1) ON CONFLICT (kind, value) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER count_verdict_insert AFTER INSERT ON pages BEGIN INSERT INTO counts (kind, value, n) VALUES ('verdict', NEW.verdict, 1) ON CONFLICT (kind, value) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER count_verdict_delete AFTER DELETE ON pages BEGIN UPDATE counts SET n = n - 1 WHERE kind = 'verdict' AND value = OLD.verdict; END;
CREATE TRIGGER count_verdict_update AFTER UPDATE OF verdict ON pages WHEN OLD.verdict <> NEW.verdict BEGIN UPDATE counts SET n = n - 1 WHERE kind = 'verdict' AND value = OLD.verdict; INSERT INTO counts (kind, value, n) VALUES ('verdict', NEW.verdict, 1) ON CONFLICT (kind, value) DO UPDATE SET n = n + 1; END;
CREATE INDEX ix_pages_parked ON pages (document_id, number) WHERE state = 'parked';
CREATE INDEX ix_server_starts_model ON server_starts (model, image_id, id);
CREATE INDEX ix_searched_waiting ON searched (id) WHERE NOT done;
CREATE TRIGGER search_page_insert AFTER INSERT ON pages WHEN NEW.result_id IS NOT NULL BEGIN INSERT INTO searched (result_id) SELECT NEW.result_id WHERE NOT EXISTS (SELECT 1 FROM searched WHERE result_id = NEW.result_id); END;
CREATE TRIGGER search_page_update AFTER UPDATE OF result_id ON pages WHEN NEW.result_id IS NOT NULL BEGIN INSERT INTO searched (result_id) SELECT NEW.result_id WHERE NOT EXISTS (SELECT 1 FROM searched WHERE result_id = NEW.result_id); END;
CREATE INDEX ix_relocations_document_id ON relocations (document_id);
CREATE INDEX ix_attempts_result_id ON attempts (result_id);
COMMIT;

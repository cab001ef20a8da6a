BEGIN TRANSACTION;
CREATE TABLE board (
    name TEXT NOT NULL,
    job TEXT NOT NULL,
    UNIQUE (name, job)
);
INSERT INTO "board" VALUES('cats','job_qo6tsx52n1x2z6hsmtaoklew');
CREATE TABLE dependency (
    job TEXT NOT NULL,
    needs TEXT NOT NULL,
    UNIQUE (job, needs)
);
INSERT INTO "dependency" VALUES('job_bco3me2oajn658wcgai8h4s6','job_zlia2bdqthfkn5q69zjgkk0c');
CREATE TABLE document (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    trashed REAL
);
INSERT INTO "document" VALUES(1,'doc_57pfy039ajzd57z8ttpz9fln','timeline','the cut','{"wan22_timeline": 1, "rate": [24, 1], "size": [832, 480], "tracks": []}',2,1.79606604596117186544e+09,1.79606604596530389783e+09,NULL);
INSERT INTO "document" VALUES(2,'doc_od6ffdzndo7k2l50vr9jxxms','storyboard','a board','{"script": "Shot 1: a red ball"}',1,1.79606604596909546849e+09,1.79606604596909546849e+09,1.79606604597303485867e+09);
CREATE TABLE event (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    at REAL NOT NULL,
    type TEXT,
    data TEXT NOT NULL
);
INSERT INTO "event" VALUES(1,'job_zlia2bdqthfkn5q69zjgkk0c',1.79605726491218161584e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(2,'job_zlia2bdqthfkn5q69zjgkk0c',1.79605726492608833307e+09,'state','{"type": "state", "state": "running", "worker": "gpu0"}');
INSERT INTO "event" VALUES(3,'job_zlia2bdqthfkn5q69zjgkk0c',1.79605726492989301685e+09,'progress','{"type": "progress", "step": 1, "steps": 2, "fraction": 0.5}');
INSERT INTO "event" VALUES(4,'job_zlia2bdqthfkn5q69zjgkk0c',1.79605726493765306475e+09,'state','{"type": "state", "state": "completed"}');
INSERT INTO "event" VALUES(5,'job_qo6tsx52n1x2z6hsmtaoklew',1.79605726494542074201e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(6,'job_qo6tsx52n1x2z6hsmtaoklew',1.79605726495344114306e+09,'state','{"type": "state", "state": "running", "worker": "gpu0"}');
INSERT INTO "event" VALUES(7,'job_qo6tsx52n1x2z6hsmtaoklew',1.79605726496202564241e+09,'state','{"type": "state", "state": "failed", "error": {"code": "out_of_memory", "message": "no room"}}');
INSERT INTO "event" VALUES(8,'job_bco3me2oajn658wcgai8h4s6',1.79605726496823978424e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(9,'job_qlrh5u0pfwdgn4o6nsogb2m9',1.79605726497406935696e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(10,'job_pb31kpx8puwn5qrot05vln86',1.7960572649743726253e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(11,'job_pb31kpx8puwn5qrot05vln86',1.79605726498930644988e+09,'state','{"type": "state", "state": "cancelled"}');
INSERT INTO "event" VALUES(12,'job_qlrh5u0pfwdgn4o6nsogb2m9',1.79605726498962426189e+09,'state','{"type": "state", "state": "cancelled"}');
INSERT INTO "event" VALUES(13,'job_mgrc1eutz9pakialaoko1c3x',1.79605726499125552177e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(14,'job_mgrc1eutz9pakialaoko1c3x',1.79605726499422049518e+09,'state','{"type": "state", "state": "cancelled"}');
INSERT INTO "event" VALUES(15,'job_mgrc1eutz9pakialaoko1c3x',1.7960572649945325852e+09,'trashed','{"type": "trashed"}');
INSERT INTO "event" VALUES(16,'job_qo6tsx52n1x2z6hsmtaoklew',1.79606604595201230049e+09,'meta','{"type": "meta", "changed": ["name", "rating", "boards", "note"]}');
CREATE TABLE input (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created REAL NOT NULL,
    width INTEGER,
    height INTEGER,
    frames INTEGER,
    fps REAL,
    seconds REAL
);
INSERT INTO "input" VALUES(1,'in_qscplj0n8s0e94eebo2h4kbt','cat.png','image/png',68,'0000000000000000000000000000000000000000000000000000000000000000',1750000000.0,640,480,NULL,NULL,NULL);
CREATE TABLE job (
    n INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they came; lists are read by it
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL,                -- JSON, as are meta, result and error
    meta TEXT NOT NULL,
    model TEXT,                           -- of the request
    search TEXT NOT NULL,                 -- what a text is looked for in: prompts, without case
    created REAL NOT NULL,                -- this and the next three: seconds since 1970
    started REAL,
    ended REAL,
    trashed REAL,
    priority INTEGER NOT NULL,
    seq INTEGER NOT NULL,                 -- the order among equals
    parent TEXT,
    key TEXT UNIQUE,                      -- of idempotency, and the hash of the body that came with it
    body TEXT,
    worker TEXT,
    token TEXT,                           -- of the claim; null unless it is in a worker's hands
    boot TEXT,                            -- the start of the machine that the next four are seconds since
    begun REAL,
    lease REAL,                           -- when it ends
    term REAL,                            -- how long it is
    passed REAL,                          -- when a later job was first preferred
    attempts INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0,
    fraction REAL NOT NULL DEFAULT 0,
    spent REAL NOT NULL DEFAULT 0,        -- seconds in workers' hands
    signal TEXT NOT NULL DEFAULT 'run',
    result TEXT,
    error TEXT,
    thinned INTEGER NOT NULL DEFAULT 0    -- its events of progress are gone
, rating INTEGER);
INSERT INTO "job" VALUES(1,'job_zlia2bdqthfkn5q69zjgkk0c','video','completed','{"prompt": "made", "model": "nano", "image": "in_qscplj0n8s0e94eebo2h4kbt"}','{"user": "kim"}','nano','made',1.79605726491197252277e+09,1.79605726492600703244e+09,1.79605726493753194809e+09,NULL,0,1048576,NULL,'key','d750a0282c5ffb0935c97e3d7f3ee76f43d6f7d3b9a9e63ad5d5a27c5a16e158',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,1,1.0,1.13776330035761930048e-02,'run','{"files": [{"name": "video.mp4"}]}',NULL,0,NULL);
INSERT INTO "job" VALUES(2,'job_qo6tsx52n1x2z6hsmtaoklew','video','failed','{"prompt": "bad"}','{"name": "The Cat", "rating": 4, "boards": ["cats"], "note": "too dark"}',NULL,'bad
the cat',1.79605726494528102881e+09,1.79605726495340514183e+09,1.79605726496193623541e+09,NULL,0,2097152,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,0,0.0,8.48423500428907573223e-03,'run',NULL,'{"code": "out_of_memory", "message": "no room"}',0,4);
INSERT INTO "job" VALUES(3,'job_bco3me2oajn658wcgai8h4s6','video','queued','{"prompt": "waits"}','{}',NULL,'waits',1.79605726496813178057e+09,NULL,NULL,NULL,3,3145728,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0,NULL);
INSERT INTO "job" VALUES(4,'job_qlrh5u0pfwdgn4o6nsogb2m9','group','cancelled','{"prompt": "of a group"}','{}',NULL,'of a group',1.79605726497396898273e+09,NULL,1.79605726498953199386e+09,NULL,0,4194304,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0,NULL);
INSERT INTO "job" VALUES(5,'job_pb31kpx8puwn5qrot05vln86','video','cancelled','{"prompt": "part"}','{}',NULL,'part',1.79605726497430086135e+09,NULL,1.79605726498926019664e+09,NULL,0,5242880,'job_qlrh5u0pfwdgn4o6nsogb2m9',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0,NULL);
INSERT INTO "job" VALUES(6,'job_mgrc1eutz9pakialaoko1c3x','image','cancelled','{"prompt": "trash"}','{}',NULL,'trash',1.79605726499119520188e+09,NULL,1.79605726499418020245e+09,1.79605726499442076684e+09,0,6291456,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0,NULL);
CREATE TABLE total (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "total" VALUES('cancelled',3.0);
INSERT INTO "total" VALUES('completed',1.0);
INSERT INTO "total" VALUES('failed',1.0);
INSERT INTO "total" VALUES('seconds',1.9861868007865268737e-02);
CREATE INDEX job_queue ON job (state, priority DESC, seq, n);
CREATE INDEX job_shown ON job (state, n) WHERE trashed IS NULL AND kind != 'group';
CREATE INDEX job_seq ON job (seq);
CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;
CREATE INDEX job_thick ON job (ended) WHERE ended IS NOT NULL AND thinned = 0;
CREATE INDEX dependency_needs ON dependency (needs);
CREATE INDEX event_job ON event (job, n);
CREATE INDEX job_rating ON job (rating) WHERE rating IS NOT NULL;
CREATE INDEX board_job ON board (job);
CREATE INDEX document_changed ON document (changed, n);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('input',1);
INSERT INTO "sqlite_sequence" VALUES('job',6);
INSERT INTO "sqlite_sequence" VALUES('event',16);
INSERT INTO "sqlite_sequence" VALUES('document',2);
COMMIT;
PRAGMA user_version = 2;
PRAGMA application_id = 2002873906;

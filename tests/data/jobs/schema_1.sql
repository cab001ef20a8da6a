BEGIN TRANSACTION;
CREATE TABLE dependency (
    job TEXT NOT NULL,
    needs TEXT NOT NULL,
    UNIQUE (job, needs)
);
INSERT INTO "dependency" VALUES('job_57yoxdrugy9s584np3ttifp8','job_nus4wvoog9r4ch7bky24ekgw');
CREATE TABLE event (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    at REAL NOT NULL,
    type TEXT,
    data TEXT NOT NULL
);
INSERT INTO "event" VALUES(1,'job_nus4wvoog9r4ch7bky24ekgw',1.79605603885393524171e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(2,'job_nus4wvoog9r4ch7bky24ekgw',1.79605603885997080798e+09,'state','{"type": "state", "state": "running", "worker": "gpu0"}');
INSERT INTO "event" VALUES(3,'job_nus4wvoog9r4ch7bky24ekgw',1.79605603886664462083e+09,'progress','{"type": "progress", "step": 1, "steps": 2, "fraction": 0.5}');
INSERT INTO "event" VALUES(4,'job_nus4wvoog9r4ch7bky24ekgw',1.79605603887623858447e+09,'state','{"type": "state", "state": "completed"}');
INSERT INTO "event" VALUES(5,'job_146tegt1pd6ns3apk1u6gr6q',1.79605603888947939874e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(6,'job_146tegt1pd6ns3apk1u6gr6q',1.7960560388929550648e+09,'state','{"type": "state", "state": "running", "worker": "gpu0"}');
INSERT INTO "event" VALUES(7,'job_146tegt1pd6ns3apk1u6gr6q',1.79605603890601968767e+09,'state','{"type": "state", "state": "failed", "error": {"code": "out_of_memory", "message": "no room"}}');
INSERT INTO "event" VALUES(8,'job_57yoxdrugy9s584np3ttifp8',1.79605603892036366463e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(9,'job_t24mx8cbmzhirocjdhyn4zn5',1.796056038925886631e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(10,'job_fuqk2snoora1hlcoy2oryd11',1.79605603892629265777e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(11,'job_fuqk2snoora1hlcoy2oryd11',1.79605603894230484961e+09,'state','{"type": "state", "state": "cancelled"}');
INSERT INTO "event" VALUES(12,'job_t24mx8cbmzhirocjdhyn4zn5',1.79605603894269180297e+09,'state','{"type": "state", "state": "cancelled"}');
INSERT INTO "event" VALUES(13,'job_1tp4sxa9sznttqmclvrfgk57',1.79605603896046614647e+09,'state','{"type": "state", "state": "queued"}');
INSERT INTO "event" VALUES(14,'job_1tp4sxa9sznttqmclvrfgk57',1.79605603897355031966e+09,'state','{"type": "state", "state": "cancelled"}');
INSERT INTO "event" VALUES(15,'job_1tp4sxa9sznttqmclvrfgk57',1.79605603897382736207e+09,'trashed','{"type": "trashed"}');
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
INSERT INTO "input" VALUES(1,'in_8fncr0546em7npbpjbgrvtpx','cat.png','image/png',68,'0000000000000000000000000000000000000000000000000000000000000000',1750000000.0,640,480,NULL,NULL,NULL);
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
);
INSERT INTO "job" VALUES(1,'job_nus4wvoog9r4ch7bky24ekgw','video','completed','{"prompt": "made", "model": "nano", "image": "in_8fncr0546em7npbpjbgrvtpx"}','{"user": "kim"}','nano','made',1.79605603885372567176e+09,1.79605603885988187795e+09,1.79605603887611198427e+09,NULL,0,1048576,NULL,'key','2c22026149d388835e7fc70b8b9db9d68e19d7430142cc87a55d6d5f73273304',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,1,1.0,1.61483419942669570446e-02,'run','{"files": [{"name": "video.mp4"}]}',NULL,0);
INSERT INTO "job" VALUES(2,'job_146tegt1pd6ns3apk1u6gr6q','video','failed','{"prompt": "bad"}','{}',NULL,'bad',1.79605603888937354084e+09,1.79605603889292097085e+09,1.79605603890592503552e+09,NULL,0,2097152,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,0,0.0,1.29583579982863739132e-02,'run',NULL,'{"code": "out_of_memory", "message": "no room"}',0);
INSERT INTO "job" VALUES(3,'job_57yoxdrugy9s584np3ttifp8','video','queued','{"prompt": "waits"}','{}',NULL,'waits',1.79605603892025828365e+09,NULL,NULL,NULL,3,3145728,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0);
INSERT INTO "job" VALUES(4,'job_t24mx8cbmzhirocjdhyn4zn5','group','cancelled','{"prompt": "of a group"}','{}',NULL,'of a group',1.79605603892577767371e+09,NULL,1.79605603894256472593e+09,NULL,0,4194304,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0);
INSERT INTO "job" VALUES(5,'job_fuqk2snoora1hlcoy2oryd11','video','cancelled','{"prompt": "part"}','{}',NULL,'part',1.79605603892623925206e+09,NULL,1.7960560389421360493e+09,NULL,0,5242880,'job_t24mx8cbmzhirocjdhyn4zn5',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0);
INSERT INTO "job" VALUES(6,'job_1tp4sxa9sznttqmclvrfgk57','image','cancelled','{"prompt": "trash"}','{}',NULL,'trash',1.79605603896033430098e+09,NULL,1.79605603897349882123e+09,1.79605603897372388842e+09,0,6291456,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0.0,'run',NULL,NULL,0);
CREATE TABLE total (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "total" VALUES('cancelled',3.0);
INSERT INTO "total" VALUES('completed',1.0);
INSERT INTO "total" VALUES('failed',1.0);
INSERT INTO "total" VALUES('seconds',2.91066999925533309578e-02);
CREATE INDEX job_queue ON job (state, priority DESC, seq, n);
CREATE INDEX job_seq ON job (seq);
CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;
CREATE INDEX job_thick ON job (ended) WHERE ended IS NOT NULL AND thinned = 0;
CREATE INDEX dependency_needs ON dependency (needs);
CREATE INDEX event_job ON event (job, n);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('input',1);
INSERT INTO "sqlite_sequence" VALUES('job',6);
INSERT INTO "sqlite_sequence" VALUES('event',15);
COMMIT;
PRAGMA user_version = 1;
PRAGMA application_id = 2002873906;

BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
 WITHOUT ROWID

;
INSERT INTO "destinations" VALUES('hdfs://ns1/landing/day=01',1,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "destinations" VALUES('hdfs://ns1/landing/day=02',1,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "destinations" VALUES('hdfs://ns1/landing/day=03',1,'hdfs://ns1/landing/.backhaul/04b3072a14309861',NULL,NULL,NULL,NULL);
INSERT INTO "destinations" VALUES('hdfs://ns1/landing/day=04',1,'hdfs://ns1/landing/.backhaul/11aecc6a0b626fc1',NULL,NULL,NULL,NULL);
INSERT INTO "destinations" VALUES('hdfs://ns1/landing/day=05',1,'hdfs://ns1/landing/.backhaul/30711c34636c561f',NULL,NULL,NULL,NULL);
INSERT INTO "destinations" VALUES('hdfs://ns1/landing/day=06',1,'hdfs://ns1/landing/.backhaul/dc6b5a60302738a9','20261122T120006Z-ab540006','edge1:0a4f3c6e-2f2b-4d57-9d3e-7b1f0c5d9a10:4711:183221','20261122T120006Z-ab540006',1795348810123456);
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
INSERT INTO "journal" VALUES(1,'20261122T120001Z-ab540001',1795348801123456,'received',NULL,1,NULL,NULL);
INSERT INTO "journal" VALUES(2,'20261122T120001Z-ab540001',1795348801123456,'staging',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(3,'20261122T120001Z-ab540001',1795348804123456,'publishing',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(4,'20261122T120001Z-ab540001',1795348805123456,'done',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(5,'20261122T120002Z-ab540002',1795348802123456,'received',NULL,1,NULL,NULL);
INSERT INTO "journal" VALUES(6,'20261122T120002Z-ab540002',1795348802123456,'staging',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(7,'20261122T120002Z-ab540002',1795348806123456,'publishing',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(8,'20261122T120002Z-ab540002',1795348806123456,'superseded',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(9,'20261122T120003Z-ab540003',1795348803123456,'received',NULL,1,NULL,NULL);
INSERT INTO "journal" VALUES(10,'20261122T120003Z-ab540003',1795348803123456,'staging',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(11,'20261122T120003Z-ab540003',1795348807123456,'dead',1,1,'E_SRC_GONE','day=03/part-00000.parquet: the object is gone');
INSERT INTO "journal" VALUES(12,'20261122T120004Z-ab540004',1795348804123456,'received',NULL,1,NULL,NULL);
INSERT INTO "journal" VALUES(13,'20261122T120004Z-ab540004',1795348804123456,'staging',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(14,'20261122T120004Z-ab540004',1795348808123456,'waiting',1,1,'E_S3_THROTTLED','S3 answered 503 SlowDown');
INSERT INTO "journal" VALUES(15,'20261122T120005Z-ab540005',1795348805123456,'received',NULL,1,NULL,NULL);
INSERT INTO "journal" VALUES(16,'20261122T120005Z-ab540005',1795348805123456,'staging',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(17,'20261122T120005Z-ab540005',1795348809123456,'held',1,0,'E_HDFS_DOWN','no NameNode answers');
INSERT INTO "journal" VALUES(18,'20261122T120006Z-ab540006',1795348806123456,'received',NULL,1,NULL,NULL);
INSERT INTO "journal" VALUES(19,'20261122T120006Z-ab540006',1795348806123456,'staging',1,1,NULL,NULL);
INSERT INTO "journal" VALUES(20,'20261122T120006Z-ab540006',1795348810123456,'publishing',1,1,NULL,NULL);
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('ledger_id','c0ffee0123456789');
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
	modified_ms BIGINT, 
	PRIMARY KEY (transfer_id, seq), 
	FOREIGN KEY(transfer_id) REFERENCES transfers (id)
)
 WITHOUT ROWID

;
INSERT INTO "objects" VALUES('20261122T120001Z-ab540001',0,'raw','click/day=01/part-00000.parquet','v1','etag0',100,1795348799123456,'part-00000.parquet',1,'0badcafe','stored','CRC32C','C63K/g==','v1',1700000000000);
INSERT INTO "objects" VALUES('20261122T120001Z-ab540001',1,'raw','click/day=01/part-00001.parquet',NULL,'etag1',101,1795348799123456,'part-00001.parquet',1,'0badcafe','stored','SHA256','n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=',NULL,1700000000001);
INSERT INTO "objects" VALUES('20261122T120002Z-ab540002',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120003Z-ab540003',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120004Z-ab540004',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',1,'0badcafe','reread',NULL,NULL,'v1',1700000000000);
INSERT INTO "objects" VALUES('20261122T120004Z-ab540004',1,'raw','click/day=01/part-00001.parquet',NULL,'etag1',101,1795348799123456,'part-00001.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120005Z-ab540005',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120006Z-ab540006',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',1,'0badcafe','stored','CRC32C','C63K/g==','v1',1700000000000);
INSERT INTO "objects" VALUES('20261122T120006Z-ab540006',1,'raw','click/day=01/part-00001.parquet',NULL,'etag1',101,1795348799123456,'part-00001.parquet',1,'0badcafe','stored','SHA256','n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=','v1',1700000000001);
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
 WITHOUT ROWID

;
INSERT INTO "published" VALUES('hdfs://ns1/landing/day=01/part-00000.parquet','20261122T120001Z-ab540001','raw','click/day=01/part-00000.parquet','v1','etag0',100,1795348799123456,'0badcafe',1700000000000);
INSERT INTO "published" VALUES('hdfs://ns1/landing/day=01/part-00001.parquet','20261122T120001Z-ab540001','raw','click/day=01/part-00001.parquet',NULL,'etag1',101,1795348799123456,'0badcafe',1700000000001);
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
	duration_us BIGINT, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_transfers_message UNIQUE (queue, message_id)
)
 WITHOUT ROWID

;
INSERT INTO "transfers" VALUES('20261122T120001Z-ab540001','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000001','s3://raw/click/day=01/','/landing/day=01','hdfs://ns1/landing/day=01','hdfs://ns1/landing/day=01','clickstream','done',1,0,0,1,NULL,1,0,2,201,1,'tree',NULL,NULL,1795348801123456,1795348801123456,1795348805123456,1795348805123456,4000000);
INSERT INTO "transfers" VALUES('20261122T120002Z-ab540002','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000002','s3://raw/click/day=01/','/landing/day=02','hdfs://ns1/landing/day=02','hdfs://ns1/landing/day=02','clickstream','superseded',1,0,0,1,NULL,1,0,1,100,1,'files',NULL,NULL,1795348802123456,1795348802123456,1795348806123456,1795348806123456,4000000);
INSERT INTO "transfers" VALUES('20261122T120003Z-ab540003','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000003','s3://raw/click/day=01/','/landing/day=03','hdfs://ns1/landing/day=03','hdfs://ns1/landing/day=03','clickstream','dead',1,1,0,1,NULL,1,0,1,100,1,NULL,'E_SRC_GONE','day=03/part-00000.parquet: the object is gone',1795348803123456,1795348803123456,1795348807123456,1795348807123456,4000000);
INSERT INTO "transfers" VALUES('20261122T120004Z-ab540004','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000004','s3://raw/click/day=01/','/landing/day=04','hdfs://ns1/landing/day=04','hdfs://ns1/landing/day=04','clickstream','waiting',1,1,0,1,NULL,1,0,2,201,1,NULL,'E_S3_THROTTLED','S3 answered 503 SlowDown',1795348804123456,1795348804123456,1795348808123456,NULL,NULL);
INSERT INTO "transfers" VALUES('20261122T120005Z-ab540005','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000005','s3://raw/click/day=01/','/landing/day=05','hdfs://ns1/landing/day=05','hdfs://ns1/landing/day=05','clickstream','held',0,0,0,1,NULL,1,0,1,100,1,NULL,'E_HDFS_DOWN','no NameNode answers',1795348805123456,1795348805123456,1795348809123456,NULL,NULL);
INSERT INTO "transfers" VALUES('20261122T120006Z-ab540006','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000006','s3://raw/click/day=01/','/landing/day=06','hdfs://ns1/landing/day=06','hdfs://ns1/landing/day=06','clickstream','publishing',1,0,0,1,'edge1:0a4f3c6e-2f2b-4d57-9d3e-7b1f0c5d9a10:4711:183221',1,1,2,201,1,NULL,NULL,NULL,1795348806123456,1795348806123456,1795348810123456,NULL,NULL);
CREATE INDEX ix_destinations_owner_transfer ON destinations (owner_transfer) WHERE owner_transfer IS NOT NULL;
CREATE INDEX ix_journal_transfer_id ON journal (transfer_id);
COMMIT;

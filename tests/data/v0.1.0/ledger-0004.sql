BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
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
CREATE TABLE litter (
	staging_root TEXT NOT NULL, 
	uri TEXT NOT NULL, 
	transfer_id TEXT NOT NULL, 
	epoch BIGINT NOT NULL, 
	claimed_at BIGINT NOT NULL, 
	route TEXT, 
	PRIMARY KEY (staging_root)
)
 WITHOUT ROWID

;
INSERT INTO "litter" VALUES('hdfs://ns1/landing/.backhaul/036cce5c7120e54f','hdfs://ns1/landing/day=02','20261122T120002Z-ab540002',1,1795348802123456,'clickstream');
INSERT INTO "litter" VALUES('hdfs://ns1/landing/.backhaul/04b3072a14309861','hdfs://ns1/landing/day=03','20261122T120003Z-ab540003',1,1795348803123456,'clickstream');
INSERT INTO "litter" VALUES('hdfs://ns1/landing/.backhaul/11aecc6a0b626fc1','hdfs://ns1/landing/day=04','20261122T120004Z-ab540004',1,1795348804123456,'clickstream');
INSERT INTO "litter" VALUES('hdfs://ns1/landing/.backhaul/30711c34636c561f','hdfs://ns1/landing/day=05','20261122T120005Z-ab540005',1,1795348805123456,'clickstream');
INSERT INTO "litter" VALUES('hdfs://ns1/landing/.backhaul/52445e0a0742eafe','hdfs://ns1/landing/day=01','20261122T120001Z-ab540001',1,1795348801123456,'clickstream');
INSERT INTO "litter" VALUES('hdfs://ns1/landing/.backhaul/dc6b5a60302738a9','hdfs://ns1/landing/day=06','20261122T120006Z-ab540006',1,1795348806123456,'clickstream');
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('ledger_id','c0ffee0123456789');
INSERT INTO "meta" VALUES('sealed_from_us','1');
CREATE TABLE nonces (
	nonce TEXT NOT NULL, 
	queue TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	keep_until BIGINT NOT NULL, 
	PRIMARY KEY (nonce)
)
 WITHOUT ROWID

;
INSERT INTO "nonces" VALUES('Zx8mQ2v7Kp0_aaaa','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000003',1796558400123456);
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
 WITHOUT ROWID

;
INSERT INTO "objects" VALUES('20261122T120001Z-ab540001',0,'raw','click/day=01/part-00000.parquet','v1','etag0',100,1795348799123456,'part-00000.parquet',1,'0badcafe','direct','CRC32C','C63K/g==','v1',1700000000000,'FULL_OBJECT','CRC32C','0badcafe','datanode','',100,1795348803123456);
INSERT INTO "objects" VALUES('20261122T120001Z-ab540001',1,'raw','click/day=01/part-00001.parquet',NULL,'etag1',101,1795348799123456,'part-00001.parquet',1,'0badcafe','reread','SHA256','n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=',NULL,1700000000001,'FULL_OBJECT','CRC32C','0badcafe','read','HDFS keeps no CRC32C of the whole file',101,1795348803123456);
INSERT INTO "objects" VALUES('20261122T120002Z-ab540002',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120003Z-ab540003',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120004Z-ab540004',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',1,'0badcafe','received',NULL,NULL,'v1',1700000000000,NULL,'CRC32C','0badcafe','read','',100,1795348808123456);
INSERT INTO "objects" VALUES('20261122T120004Z-ab540004',1,'raw','click/day=01/part-00001.parquet',NULL,'etag1',101,1795348799123456,'part-00001.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120005Z-ab540005',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "objects" VALUES('20261122T120006Z-ab540006',0,'raw','click/day=01/part-00000.parquet',NULL,'etag0',100,1795348799123456,'part-00000.parquet',1,'0badcafe','direct','CRC32C','C63K/g==','v1',1700000000000,'FULL_OBJECT','CRC32C','0badcafe','datanode','',100,1795348803123456);
INSERT INTO "objects" VALUES('20261122T120006Z-ab540006',1,'raw','click/day=01/part-00001.parquet',NULL,'etag1',101,1795348799123456,'part-00001.parquet',1,'0badcafe','reread','SHA256','n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=','v1',1700000000001,'FULL_OBJECT','CRC32C','0badcafe','read','HDFS keeps no CRC32C of the whole file',101,1795348803123456);
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
CREATE TABLE seals (
	number INTEGER NOT NULL, 
	transfer_id TEXT NOT NULL, 
	line TEXT NOT NULL, 
	seal TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (transfer_id)
);
INSERT INTO "seals" VALUES(1,'20261122T120001Z-ab540001','{"v":1,"kind":"transfer","transfer":"20261122T120001Z-ab540001","source":"s3://raw/click/day=01/","destination":"/landing/day=01","state":"done","publish":"tree","objects":2,"size":201,"bytes_read":201,"finished_at":"2026-11-22T12:00:05.123456+00:00","manifest":"5f3c6321b9fc8029244bf8db0943117d0268e6fc86524a6fe79df2f7ee71561f","previous":""}','63381040a14b0a0b828e02d203c07f239bf0d4d49ecb86bc4c800a185db52b0f');
INSERT INTO "seals" VALUES(2,'20261122T120002Z-ab540002','{"v":1,"kind":"transfer","transfer":"20261122T120002Z-ab540002","source":"s3://raw/click/day=01/","destination":"/landing/day=02","state":"superseded","publish":"files","objects":1,"size":100,"bytes_read":0,"finished_at":"2026-11-22T12:00:06.123456+00:00","manifest":"4f47f076c28bbf66d46470cc3b8a6c8ee1396d6616e962aa2ebcdd6038b515cf","previous":"63381040a14b0a0b828e02d203c07f239bf0d4d49ecb86bc4c800a185db52b0f"}','8adbecc58b1483de0c53716da7f660a567ea1005e19f5c4dc5eb5aa9996589f8');
CREATE TABLE sequencers (
	uri TEXT NOT NULL, 
	bucket TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	sequencer TEXT NOT NULL, 
	transfer_id TEXT NOT NULL, 
	PRIMARY KEY (uri, bucket, "key")
)
 WITHOUT ROWID

;
INSERT INTO "sequencers" VALUES('hdfs://ns1/landing/day=01','raw','click/day=01/_SUCCESS','0055AED6DCD90281E5','20261122T120001Z-ab540001');
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
	duration_us BIGINT, policy TEXT, event_bucket TEXT, event_key TEXT, sequencer TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_transfers_message UNIQUE (queue, message_id)
)
 WITHOUT ROWID

;
INSERT INTO "transfers" VALUES('20261122T120001Z-ab540001','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000001','s3://raw/click/day=01/','/landing/day=01','hdfs://ns1/landing/day=01','hdfs://ns1/landing/day=01','clickstream','done',1,0,0,1,NULL,1,0,2,201,1,'tree',NULL,NULL,1795348801123456,1795348801123456,1795348805123456,1795348805123456,4000000,'3f9c2a7d51e08b46','raw','click/day=01/_SUCCESS','0055AED6DCD90281E5');
INSERT INTO "transfers" VALUES('20261122T120002Z-ab540002','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000002','s3://raw/click/day=01/','/landing/day=02','hdfs://ns1/landing/day=02','hdfs://ns1/landing/day=02','clickstream','superseded',1,0,0,1,NULL,1,0,1,100,1,'files',NULL,NULL,1795348802123456,1795348802123456,1795348806123456,1795348806123456,4000000,'3f9c2a7d51e08b46',NULL,NULL,NULL);
INSERT INTO "transfers" VALUES('20261122T120003Z-ab540003','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000003','s3://raw/click/day=01/','/landing/day=03','hdfs://ns1/landing/day=03','hdfs://ns1/landing/day=03','clickstream','dead',1,1,0,1,NULL,1,0,1,100,1,NULL,'E_SRC_GONE','day=03/part-00000.parquet: the object is gone',1795348803123456,1795348803123456,1795348807123456,1795348807123456,4000000,'3f9c2a7d51e08b46',NULL,NULL,NULL);
INSERT INTO "transfers" VALUES('20261122T120004Z-ab540004','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000004','s3://raw/click/day=01/','/landing/day=04','hdfs://ns1/landing/day=04','hdfs://ns1/landing/day=04','clickstream','waiting',1,1,0,1,NULL,1,0,2,201,1,NULL,'E_S3_THROTTLED','S3 answered 503 SlowDown',1795348804123456,1795348804123456,1795348808123456,NULL,NULL,'3f9c2a7d51e08b46',NULL,NULL,NULL);
INSERT INTO "transfers" VALUES('20261122T120005Z-ab540005','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000005','s3://raw/click/day=01/','/landing/day=05','hdfs://ns1/landing/day=05','hdfs://ns1/landing/day=05','clickstream','held',0,0,0,1,NULL,1,0,1,100,1,NULL,'E_HDFS_DOWN','no NameNode answers',1795348805123456,1795348805123456,1795348809123456,NULL,NULL,'3f9c2a7d51e08b46',NULL,NULL,NULL);
INSERT INTO "transfers" VALUES('20261122T120006Z-ab540006','arn:aws:sqs:us-east-1:000000000000:work','5d9a1c0e-0000-4000-8000-000000000006','s3://raw/click/day=01/','/landing/day=06','hdfs://ns1/landing/day=06','hdfs://ns1/landing/day=06','clickstream','publishing',1,0,0,1,'edge1:0a4f3c6e-2f2b-4d57-9d3e-7b1f0c5d9a10:4711:183221',1,1,2,201,1,NULL,NULL,NULL,1795348806123456,1795348806123456,1795348810123456,NULL,NULL,'3f9c2a7d51e08b46',NULL,NULL,NULL);
CREATE INDEX ix_destinations_owner_transfer ON destinations (owner_transfer) WHERE owner_transfer IS NOT NULL;
CREATE INDEX ix_journal_transfer_id ON journal (transfer_id);
CREATE INDEX ix_nonces_keep_until ON nonces (keep_until);
CREATE INDEX ix_litter_uri ON litter (uri);
CREATE INDEX ix_transfers_renames_possible ON transfers (id) WHERE renames_possible;
COMMIT;

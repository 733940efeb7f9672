CREATE TABLE clinics (
    id INTEGER NOT NULL, 
    name TEXT NOT NULL, 
    created_at DATETIME NOT NULL, 
    PRIMARY KEY (id), 
    UNIQUE (name)
);
CREATE TABLE claims (
    code_sha256 TEXT NOT NULL, 
    clinic_id INTEGER NOT NULL, 
    box_name TEXT NOT NULL, 
    expires_at DATETIME NOT NULL, 
    used_at DATETIME, 
    key_sha256 TEXT, 
    device_id TEXT, 
    PRIMARY KEY (code_sha256), 
    FOREIGN KEY(clinic_id) REFERENCES clinics (id)
);
CREATE TABLE devices (
    id TEXT NOT NULL, 
    clinic_id INTEGER NOT NULL, 
    name TEXT NOT NULL, 
    certificate_sha256 TEXT NOT NULL, 
    former_sha256 TEXT, 
    not_after DATETIME NOT NULL, 
    enrolled_at DATETIME NOT NULL, 
    revoked_at DATETIME, 
    seen_at DATETIME, 
    clock_state TEXT, 
    PRIMARY KEY (id), 
    FOREIGN KEY(clinic_id) REFERENCES clinics (id), 
    UNIQUE (certificate_sha256), 
    UNIQUE (former_sha256)
);
CREATE TABLE raw_objects (
    clinic_id INTEGER NOT NULL, 
    sha256 TEXT NOT NULL, 
    size BIGINT NOT NULL, 
    stored_at DATETIME NOT NULL, 
    PRIMARY KEY (clinic_id, sha256), 
    FOREIGN KEY(clinic_id) REFERENCES clinics (id)
);
CREATE TABLE documents (
    id INTEGER NOT NULL, 
    clinic_id INTEGER NOT NULL, 
    device_id TEXT NOT NULL, 
    epoch TEXT NOT NULL, 
    seq BIGINT NOT NULL, 
    digest TEXT NOT NULL, 
    type TEXT NOT NULL, 
    schema INTEGER NOT NULL, 
    created_at TEXT NOT NULL, 
    clock_state TEXT NOT NULL, 
    received_at DATETIME NOT NULL, 
    body TEXT NOT NULL, 
    PRIMARY KEY (id), 
    FOREIGN KEY(clinic_id) REFERENCES clinics (id), 
    FOREIGN KEY(device_id) REFERENCES devices (id)
);
CREATE INDEX documents_of_a_box ON documents (device_id, epoch, seq);
CREATE INDEX documents_of_a_clinic ON documents (clinic_id, id);
CREATE TABLE health (
    device_id TEXT NOT NULL, 
    clinic_id INTEGER NOT NULL, 
    received_at DATETIME NOT NULL, 
    body TEXT NOT NULL, 
    PRIMARY KEY (device_id), 
    FOREIGN KEY(device_id) REFERENCES devices (id), 
    FOREIGN KEY(clinic_id) REFERENCES clinics (id)
);
CREATE TABLE receipts (
    device_id TEXT NOT NULL, 
    epoch TEXT NOT NULL, 
    seq BIGINT NOT NULL, 
    clinic_id INTEGER NOT NULL, 
    digest TEXT NOT NULL, 
    PRIMARY KEY (device_id, epoch, seq), 
    UNIQUE (device_id, digest), 
    FOREIGN KEY(device_id) REFERENCES devices (id), 
    FOREIGN KEY(clinic_id) REFERENCES clinics (id)
);

CREATE TABLE clinics (
    id SERIAL NOT NULL, 
    name TEXT NOT NULL, 
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    PRIMARY KEY (id), 
    UNIQUE (name)
);
CREATE TABLE claims (
    code_sha256 TEXT NOT NULL, 
    clinic_id INTEGER NOT NULL, 
    box_name TEXT NOT NULL, 
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    used_at TIMESTAMP WITH TIME ZONE, 
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
    not_after TIMESTAMP WITH TIME ZONE NOT NULL, 
    enrolled_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    revoked_at TIMESTAMP WITH TIME ZONE, 
    seen_at TIMESTAMP WITH TIME ZONE, 
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
    stored_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    PRIMARY KEY (clinic_id, sha256), 
    FOREIGN KEY(clinic_id) REFERENCES clinics (id)
);
CREATE TABLE documents (
    id BIGSERIAL NOT NULL, 
    clinic_id INTEGER NOT NULL, 
    device_id TEXT NOT NULL, 
    epoch TEXT NOT NULL, 
    seq BIGINT NOT NULL, 
    digest TEXT NOT NULL, 
    type TEXT NOT NULL, 
    schema INTEGER NOT NULL, 
    created_at TEXT NOT NULL, 
    clock_state TEXT NOT NULL, 
    received_at TIMESTAMP WITH TIME ZONE NOT NULL, 
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
    received_at TIMESTAMP WITH TIME ZONE NOT NULL, 
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

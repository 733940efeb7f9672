-- A large fleet, made by the database itself (`crowd.py`): :documents of :boxes boxes, numbered from
-- :first. Clinics have two boxes, chains :chain clinics. Of ten documents of a box five are results
-- (`place` 0 to 4), four the analyzer's own reports of four of them, one a note.

INSERT INTO chains (id, name, created_at)
SELECT :first + n, 'Chain ' || n, now()
FROM generate_series(0, greatest(0, :boxes / 2 / :chain - 1)) AS n;

INSERT INTO clinics (id, name, created_at, chain_id)
SELECT :first + n, 'Clinic ' || n, now(),
    :first + least(n / :chain, greatest(0, :boxes / 2 / :chain - 1))
FROM generate_series(0, :boxes / 2 - 1) AS n;

CREATE TEMP TABLE box ON COMMIT DROP AS
SELECT b, '10000000-0000-4000-8000-' || lpad(b::text, 12, '0') AS id, :first + b / 2 AS clinic,
    b % 500 = 499 AS simulated,
    CASE WHEN b = 7 THEN 'curio_9' WHEN b % 3 = 0 THEN 'acme_5' ELSE 'sim_4' END AS instrument
FROM generate_series(0, :boxes - 1) AS b;

INSERT INTO devices (id, clinic_id, name, certificate_sha256, not_after, enrolled_at, seen_at)
SELECT id, clinic, 'Room ' || b % 2, 'certificate ' || b, now() + interval '60 days',
    now() - interval '300 days',
    now() - CASE WHEN b % 40 = 0 THEN interval '3 days' ELSE interval '5 minutes' END
FROM box;

INSERT INTO health (device_id, clinic_id, received_at, body, summary)
SELECT box.id, clinic, now(), body, summary FROM health, box;

INSERT INTO health_history (device_id, clinic_id, first_at, last_at, summary)
SELECT box.id, clinic, now() - (:spells - w) * interval '1 day',
    now() - (:spells - w) * interval '1 day' + interval '1 hour', summary
FROM health_history, box, generate_series(1, :spells) AS w;

-- `n` numbers documents, evenly over half a year; `k` those of one box, `s` its samples. 997 and 991
-- are primes: what is common and what is rare lies scattered over boxes and time.
CREATE TEMP TABLE document ON COMMIT DROP AS
SELECT *, :first + n AS number,
    CASE WHEN place < 5 THEN 'run' WHEN place < 9 THEN 'report' ELSE 'note' END AS kind,
    encode(sha256((CASE WHEN place BETWEEN 5 AND 8 THEN 'report ' ELSE 'run ' END
        || b || ' ' || s)::bytea), 'hex') AS capture,
    CASE WHEN n * 7919 % 997 < 20 THEN 'invalid' WHEN n * 7919 % 997 < 200 THEN 'review'
        ELSE 'ok' END AS status,
    CASE WHEN b = 3 AND s % 20 = 0 THEN 'alpaca' WHEN (b * 31 + s * 6151) % 991 < 550 THEN 'dog'
        WHEN (b * 31 + s * 6151) % 991 < 850 THEN 'cat' ELSE 'horse' END AS species
FROM (
    SELECT n, n / :boxes AS k, n / :boxes % 10 AS place,
        n / :boxes / 10 * 5 + least(n / :boxes % 10, 4 + 5 * (n / :boxes % 10 / 5))
            - 5 * (n / :boxes % 10 / 5) AS s,
        date_trunc('day', now()) - interval '180 days'
            + n * (interval '180 days' / :documents) AS at,
        n % :boxes AS of_box
    FROM generate_series(0::bigint, :documents - 1) AS n
) AS numbered JOIN box ON box.b = of_box
ORDER BY n;

INSERT INTO documents (id, clinic_id, device_id, epoch, seq, digest, type, schema, created_at,
    clock_state, received_at, body, capture)
SELECT number, clinic, document.id, 'epoch', k, n::text,
    kind || CASE WHEN simulated THEN '.simulated' ELSE '.clinical' END, 1, at::text,
    'synchronised', at, replace(d.body, :seed, document.capture), document.capture
FROM document
JOIN (SELECT DISTINCT ON (type) type, body FROM documents ORDER BY type, id) AS d
    ON d.type = kind || '.clinical'
ORDER BY n;

SELECT setval('documents_id_seq', (SELECT max(id) FROM documents));

UPDATE indexed SET upto = (SELECT max(id) FROM documents);

INSERT INTO results (document_id, clinic_id, device_id, epoch, seq, kind, simulated, newest, at,
    at_trusted, source, capture, number, instrument, sample_key, patient_key, sample_id, patient_id,
    species, status, mark, profile, profile_sha256, model, facts)
SELECT number, clinic, d.id, 'epoch', k, d.kind, d.simulated, n % 47 > 0, d.at, true, 'analyzer',
    d.capture, 1, d.instrument, 's' || lpad(s::text, 6, '0'), 'p' || b || '-' || s / 3,
    'S' || lpad(s::text, 6, '0'), 'P' || b || '-' || s / 3, d.species,
    CASE WHEN place < 5 THEN d.status END, CASE WHEN n % 53 = 0 THEN 'control' END, 'sim_4/1.0',
    'a', 'sim_4@0.3.1', r.facts
FROM document AS d JOIN (SELECT kind, facts FROM results) AS r ON r.kind = d.kind
ORDER BY n;

INSERT INTO result_flags (code, document_id, clinic_id, at)
SELECT CASE status WHEN 'invalid' THEN 'no_rbc_peak' WHEN 'review' THEN 'platelets_count_limited'
    ELSE 'no_fluorescence' END, number, clinic, at
FROM document WHERE kind = 'run';

INSERT INTO result_flags (code, document_id, clinic_id, at)
SELECT 'seldom_seen', number, clinic, at FROM document WHERE k = 10 AND b % 100 = 1;

INSERT INTO said (document_id, clinic_id, device_id, capture, what, by, at, facts)
SELECT number, clinic, document.id, document.capture, 'note', 'Ada', document.at, said.facts
FROM document, said WHERE kind = 'note';

INSERT INTO audit (at, actor, origin, clinic_id, action, subject, details)
SELECT at, 'Ada (Room)', 'box', clinic,
    CASE WHEN n * 7919 % 997 < 2 THEN 'box_refused' ELSE 'noted' END, 'capture ' || n, '{}'
FROM document WHERE kind = 'note' ORDER BY n;

INSERT INTO audit (at, actor, origin, clinic_id, chain_id, action, subject, details)
SELECT now(), 'somebody', 'page', CASE WHEN n % 3 = 0 THEN :first + n % (:boxes / 2) END,
    CASE WHEN n % 3 = 1 THEN :first END, 'signed_in', '', '{}'
FROM generate_series(1, :documents / 10) AS n;

INSERT INTO pairs (run_id, clinic_id, device_id, instrument, analyzer, species, simulated, at, facts)
SELECT number, clinic, id, instrument, 'acme_lis', species, simulated, at,
    json_build_object(
        'values', json_build_object('RBC', ARRAY[6.9 + n % 31 / 100.0, 7.0],
            'PLT', ARRAY[270 + n % 37, 290], 'HGB', ARRAY[16.0, 15.9], 'HCT', ARRAY[48.1, 48.0],
            'MCV', ARRAY[69.0, 69.3]),
        'reports', ARRAY[number + 5 * :boxes])
FROM document WHERE place < 4;

INSERT INTO drifts (device_id, instrument, species, simulated, code, clinic_id, state, since,
    checked_at, facts)
SELECT id, 'sim_4 (analyzer)', species, false, code, clinic, stands.state, now(), now(), stands.facts
FROM box, unnest(ARRAY['dog', 'cat', 'horse']) AS species,
    unnest(ARRAY['RBC', 'MCV', 'MCHC', 'HGB', 'PLT', 'RBC/s', 'PLT/s']) AS code
JOIN (VALUES ('drift', :drift), ('in_control', :steady)) AS stands (state, facts)
    ON true
WHERE (stands.state = 'drift') = (b % 50 = 1 AND code = 'MCV');

INSERT INTO in_use (device_id, what, name, clinic_id, version, first_at, last_at)
SELECT id, what, name, clinic, CASE WHEN b % 90 = 3 THEN '0.3.0' ELSE '0.3.1' END,
    now() - interval '30 days', now()
FROM box, (VALUES ('model', 'sim_4'), ('profile', 'sim_4/1.0')) AS used (what, name);

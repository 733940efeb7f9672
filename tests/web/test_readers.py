"""Four people read while an import runs: no page waits for the writer or fails."""

import threading

from edge_daemon.resources import reference_pictures_dir

PAGES = ("/", "/?q=bello+today", "/results/{run}", "/results/{run}/pictures", "/device", "/quality")
ROUNDS = 5


def test_an_import_never_makes_a_page_fail(box, serve, open_browser):
    drawn = (reference_pictures_dir() / "sim_optical4" / "dog.pictures").read_bytes()
    runs = [box.add(pictures=drawn) for _ in range(3)]
    url = serve().url
    over, failed, answers = threading.Event(), [], []
    imported = []

    def read(offset):
        browser = open_browser(url)
        try:
            for number in range(ROUNDS * len(PAGES)):
                path = PAGES[(number + offset) % len(PAGES)].format(run=runs[number % len(runs)])
                answers.append((path, browser.get(path).status))
        except Exception as error:  # noqa: BLE001 - told by the test
            failed.append(repr(error))

    def bring():
        try:
            while not over.is_set():
                runs.append(box.add(patient_name=f"Bello {len(runs)}", pictures=drawn))
                imported.append(runs[-1])
        except Exception as error:  # noqa: BLE001
            failed.append(repr(error))

    readers = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    writer = threading.Thread(target=bring)
    for thread in (writer, *readers):
        thread.start()
    for reader in readers:
        reader.join()
    over.set()
    writer.join()
    assert failed == []
    assert len(answers) == 4 * ROUNDS * len(PAGES)
    assert {status for _, status in answers} == {200}, [a for a in answers if a[1] != 200][:5]
    assert imported, "the import went on beside the readers"

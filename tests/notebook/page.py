"""JupyterLab's page in a headless Chromium, used as a person uses it: by mouse and keys."""

import shutil

from project import until
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

# As root, without a display, and without a word to anybody but the page that is opened.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Page:
    def __init__(self, folder):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for option in (*QUIET, f"--user-data-dir={folder}", "--window-size=1280,1000"):
            options.add_argument(option)
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)

    def open(self, address):
        # Without what was open in it before.
        self.driver.get(address + "&reset")
        until("JupyterLab's page is there", lambda: self.find(".jp-Launcher, .jp-Notebook"))

    def find(self, selector):
        try:
            found = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return [one for one in found if one.is_displayed()]
        except WebDriverException:
            return []  # The page is being drawn anew.

    def new_notebook(self, project):
        """Opens a new notebook, whose kernel this page is the one to talk to."""
        card = until("the launcher offers a notebook", lambda: self.find('.jp-LauncherCard[data-category="Notebook"]'))
        before = {kernel["id"] for kernel in project.api("/api/kernels")}
        card[0].click()

        def ready():
            new = [kernel for kernel in project.api("/api/kernels") if kernel["id"] not in before]
            return any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in new)

        # Before that the page drops what it is told to run.
        until("the page talks to the new kernel", ready)
        self.is_idle()

    def is_idle(self):
        until("the kernel is idle", lambda: self.find('.jp-Notebook-ExecutionIndicator[data-status="idle"]'))

    def run(self, line):
        """Types a line into the cell that has the cursor, and runs it."""
        cell = until("a cell is active", lambda: self.find(".jp-Notebook .jp-mod-active .cm-content"))[0]
        cell.click()
        cell.send_keys(line)
        cell.send_keys(Keys.SHIFT, Keys.ENTER)

    def save(self):
        """Saves a new notebook for the first time, which is when its name is asked for; it keeps the one it has."""
        self.find(".jp-Notebook")[0].send_keys(Keys.CONTROL, "s")
        until("its name is asked for", lambda: self.find(".jp-Dialog .jp-mod-accept"))[0].click()

    def close(self):
        self.driver.quit()

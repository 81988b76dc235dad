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
        self.driver.get(address)
        until("JupyterLab's page is there", lambda: self.find(".jp-Launcher, .jp-Notebook"))

    def find(self, selector):
        try:
            found = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return [one for one in found if one.is_displayed()]
        except WebDriverException:
            return []  # The page is being drawn anew.

    def new_notebook(self):
        card = until("the launcher offers a notebook", lambda: self.find('.jp-LauncherCard[data-category="Notebook"]'))
        card[0].click()
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
        self.find(".jp-Notebook")[0].send_keys(Keys.CONTROL, "s")

    def close(self):
        self.driver.quit()

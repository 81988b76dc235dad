"""One server with JupyterLab for most cases, a browser for each."""

import pytest
from project import Project
from page import Page


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("dacapo-notebook") / "project").up().with_notebook()
    project.installed = project.dacapo("up", "--yes").exits(0)
    # Before anybody works in it.
    project.untouched = project.dacapo("plan", "--set", "state=absent").exits(0)
    yield project
    project.close()


@pytest.fixture
def new_project(tmp_path):
    projects = []

    def make(**options):
        projects.append(Project(tmp_path / f"project-{len(projects)}", **options))
        return projects[-1]

    yield make
    for project in projects:
        project.close()


@pytest.fixture
def page(tmp_path):
    page = Page(tmp_path / "browser")
    yield page
    page.close()

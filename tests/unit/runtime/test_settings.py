from ipaddress import ip_network

import pytest

from service.runtime.settings import Role, Settings, SettingsError, from_env

KEY = "k" * 32


def errors(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        from_env(environ)
    return {error.path: error.message for error in caught.value.errors}


def test_every_setting_has_a_default() -> None:
    settings = from_env({})

    assert settings.database_url == "sqlite:///belfry.db"
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.public_url, settings.secret_keys, settings.admin_key) == (None, (), None)
    assert settings.allow_targets == ()
    assert settings.moderation_warning == 0.1
    assert settings.is_sqlite


@pytest.mark.parametrize(
    ("name", "base_url", "max_jobs"),
    [
        ("useapi", "https://api.useapi.net/v1/runwayml", 10),
        ("runware", "https://api.runware.ai/v1", 100),
        ("runway_ai", "https://api.runway-ai.ai", 8),
    ],
)
def test_a_provider_without_a_token_has_an_account_with_defaults(
    name: str, base_url: str, max_jobs: int
) -> None:
    account = from_env({}).accounts[name]

    assert (account.base_url, account.token, account.max_jobs) == (base_url, None, max_jobs)


@pytest.mark.parametrize(
    ("name", "token", "prefix"),
    [
        ("useapi", "USEAPI_TOKEN", "USEAPI"),
        ("runware", "RUNWARE_API_KEY", "RUNWARE"),
        ("runway_ai", "RUNWAY_AI_API_KEY", "RUNWAY_AI"),
    ],
)
def test_each_provider_has_its_own_variables(name: str, token: str, prefix: str) -> None:
    environ = {
        token: "t0ken",
        f"{prefix}_BASE_URL": "http://127.0.0.1:9/v1/",
        f"{prefix}_MAX_JOBS": "3",
    }

    account = from_env(environ).accounts[name]

    assert (account.token, account.max_jobs) == ("t0ken", 3)
    assert account.base_url == "http://127.0.0.1:9/v1"


def test_every_setting_can_be_changed() -> None:
    settings = from_env(
        {
            "BELFRY_DATABASE_URL": "postgresql://u:p@db/belfry",
            "BELFRY_PUBLIC_URL": "https://belfry.example/",
            "BELFRY_SECRET_KEYS": f" {KEY} , {KEY}2,",
            "BELFRY_ADMIN_KEY": KEY,
            "BELFRY_ALLOW_TARGETS": "10.1.0.0/16, fd00::/8",
            "BELFRY_MAX_POSTS": "64",
            "BELFRY_MAX_STREAMS": "50",
            "HOST": "0.0.0.0",  # noqa: S104 - read, not bound
            "PORT": "0",
        }
    )

    assert not settings.is_sqlite
    assert settings.public_url == settings.callback_base == "https://belfry.example"
    assert settings.secret_keys == (KEY, KEY + "2")
    assert settings.admin_key == KEY
    assert settings.allow_targets == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert settings.max_posts == 64
    assert (settings.max_streams, settings.port) == (50, 0)


@pytest.mark.parametrize(("text", "share"), [("0.25", 0.25), (" .5 ", 0.5), ("off", None)])
def test_the_limit_of_the_moderation_warning_is_a_share_or_off(
    text: str, share: float | None
) -> None:
    assert from_env({"BELFRY_MODERATION_WARNING": text}).moderation_warning == share


@pytest.mark.parametrize("text", ["0", "1", "10", "-0.1", "10%", "on", "nan", "inf", "1e999"])
def test_another_limit_of_the_moderation_warning_is_refused(text: str) -> None:
    found = errors(BELFRY_MODERATION_WARNING=text)

    assert found == {
        "BELFRY_MODERATION_WARNING": "must be a share between 0 and 1, such as 0.1, or off"
    }


@pytest.mark.parametrize(
    "url", ["sqlite:///belfry.db", "sqlite:////var/lib/belfry.db", "sqlite:///a b.db"]
)
def test_a_sqlite_url_needs_no_other_setting(url: str) -> None:
    settings = from_env({"BELFRY_DATABASE_URL": url})

    assert (settings.database_url, settings.is_sqlite) == (url, True)


@pytest.mark.parametrize(
    "password",
    [
        "a@s3cret",
        "a:s3cret@b",
        "a/s3cret@b",
        "1/s3cret@b",
        "a?s3cret",
        "a#s3cret",
        "1#s3cret",
        "[s3cret",
    ],
)
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_shown(password: str) -> None:
    found = errors(
        BELFRY_DATABASE_URL=f"postgresql://u:{password}@db/belfry", BELFRY_SECRET_KEYS="k" * 32
    )

    assert list(found) == ["BELFRY_DATABASE_URL"]
    assert "percent-encode" in found["BELFRY_DATABASE_URL"]
    assert "s3cret" not in found["BELFRY_DATABASE_URL"]


@pytest.mark.parametrize("role", [Role.WEB, Role.WORKER])
def test_sqlite_allows_no_separate_roles(role: Role) -> None:
    with pytest.raises(SettingsError, match="--role: cannot be used with SQLite"):
        from_env({}, role)


def test_a_worker_has_another_default_port_than_a_web_process() -> None:
    environ = {"BELFRY_DATABASE_URL": "postgresql://db/belfry", "BELFRY_SECRET_KEYS": "k" * 32}

    assert from_env(environ, Role.WEB).port == 8080
    assert from_env(environ, Role.WORKER).port == 8081
    assert from_env({**environ, "PORT": "9000"}, Role.WORKER).port == 9000


@pytest.mark.parametrize(
    ("base_url", "public_url", "reachable"),
    [
        ("https://api.useapi.net", "https://belfry.example", True),
        ("https://api.useapi.net", "", False),
        ("http://127.0.0.1:9", "", True),
        ("http://localhost:9", "", True),
        ("http://[::1]:9", "", True),
        ("http://127.0.0.1.example", "", False),
    ],
)
def test_a_remote_provider_needs_a_public_url_to_call_back(
    base_url: str, public_url: str, *, reachable: bool
) -> None:
    settings = from_env({"USEAPI_BASE_URL": base_url, "BELFRY_PUBLIC_URL": public_url})

    assert settings.reachable_from("useapi") is reachable


def test_a_blank_variable_counts_as_not_set() -> None:
    assert from_env({"PORT": " ", "BELFRY_PUBLIC_URL": "", "USEAPI_TOKEN": " "}) == from_env({})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BELFRY_DATABASE_URL", "mysql://db/belfry"),
        ("BELFRY_DATABASE_URL", "sqlite:///"),
        ("BELFRY_DATABASE_URL", "belfry.db"),
        ("BELFRY_PUBLIC_URL", "belfry.example"),
        ("BELFRY_PUBLIC_URL", "ftp://belfry.example"),
        ("BELFRY_PUBLIC_URL", "https://user@belfry.example"),
        ("BELFRY_PUBLIC_URL", "https://belfry.example?x=1"),
        ("BELFRY_PUBLIC_URL", "https://belfry.example#x"),
        ("BELFRY_PUBLIC_URL", "https://[::1"),
        ("BELFRY_PUBLIC_URL", "https://"),
        ("BELFRY_SECRET_KEYS", f"{KEY},short"),
        ("BELFRY_SECRET_KEYS", "é" * 32),
        ("BELFRY_ADMIN_KEY", "k" * 31),
        ("BELFRY_ALLOW_TARGETS", "10.1.0.0/33"),
        ("BELFRY_ALLOW_TARGETS", "10.1.2.3/16"),
        ("BELFRY_ALLOW_TARGETS", "localhost"),
        ("BELFRY_MAX_STREAMS", "0"),
        ("BELFRY_MAX_STREAMS", "10001"),
        ("BELFRY_MAX_STREAMS", "all"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "http"),
        ("PORT", "²"),
        ("USEAPI_TOKEN", "two words"),
        ("USEAPI_TOKEN", "tökén"),
        ("RUNWARE_BASE_URL", "api.runware.ai"),
        ("RUNWAY_AI_MAX_JOBS", "0"),
        ("RUNWAY_AI_MAX_JOBS", "10001"),
        ("RUNWAY_AI_MAX_JOBS", "many"),
    ],
)
def test_an_invalid_setting_is_named(name: str, text: str) -> None:
    assert list(errors(**{name: text})) == [name]


def test_all_invalid_settings_are_reported_together_one_per_line() -> None:
    environ = {
        "BELFRY_DATABASE_URL": "x",
        "BELFRY_PUBLIC_URL": "x",
        "BELFRY_SECRET_KEYS": "x",
        "BELFRY_ADMIN_KEY": "x",
        "BELFRY_ALLOW_TARGETS": "x",
        "PORT": "x",
        "USEAPI_TOKEN": "x y",
        "RUNWARE_BASE_URL": "x",
        "RUNWAY_AI_MAX_JOBS": "x",
    }

    with pytest.raises(SettingsError) as caught:
        from_env(environ)

    assert {error.path for error in caught.value.errors} == environ.keys()
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        error.path for error in caught.value.errors
    ]


def test_postgresql_requires_secret_keys() -> None:
    found = errors(BELFRY_DATABASE_URL="postgresql://u:p@db/belfry")

    assert "PostgreSQL" in found["BELFRY_SECRET_KEYS"]


def test_no_error_message_contains_a_secret() -> None:
    names = ("BELFRY_ADMIN_KEY", "BELFRY_SECRET_KEYS", "USEAPI_TOKEN", "RUNWARE_API_KEY")

    found = errors(**dict.fromkeys(names, "s3cret s3cret"))

    assert found.keys() == set(names)
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104 - compared, not bound
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
    ],
)
def test_without_a_public_url_callbacks_use_the_local_address(host: str, base: str) -> None:
    assert from_env({"HOST": host}).callback_base == base


def test_the_repr_of_settings_and_accounts_contains_no_secret() -> None:
    settings = from_env(
        {
            "BELFRY_DATABASE_URL": "postgresql://u:s3cret-s3cret@db/belfry",
            "BELFRY_SECRET_KEYS": "s3cret" * 8,
            "BELFRY_ADMIN_KEY": "s3cret" * 8,
            "USEAPI_TOKEN": "s3cret",
        }
    )

    assert "s3cret" not in f"{settings!r} {settings} {settings.accounts}"


def test_an_empty_environment_gives_the_defaults_of_the_struct() -> None:
    assert Settings(accounts=from_env({}).accounts) == from_env({})


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("", False),
        ("https://belfry.example", False),
        ("https://8.8.8.8", False),
        ("http://localhost:8080", True),
        ("http://belfry.localhost", True),
        ("http://127.0.0.1:8080", True),
        ("https://10.1.2.3", True),
        ("https://[::1]", True),
        ("https://[fd00::1]", True),
    ],
)
def test_a_private_public_url_is_recognised_without_dns(url: str, *, private: bool) -> None:
    assert from_env({"BELFRY_PUBLIC_URL": url}).has_private_public_url is private


def test_a_remote_account_has_a_token_and_is_not_on_this_machine() -> None:
    accounts = from_env(
        {"FAL_KEY": "x", "RUNWARE_API_KEY": "x", "RUNWARE_BASE_URL": "http://localhost:9"}
    ).accounts

    assert [name for name, account in accounts.items() if account.is_remote] == ["fal"]


def test_generated_keys_are_stored_next_to_the_sqlite_database() -> None:
    settings = from_env({"BELFRY_DATABASE_URL": "sqlite:////var/lib/belfry.db"})

    assert settings.keys_file == "/var/lib/belfry.db.keys"
    assert from_env({"BELFRY_SECRET_KEYS": KEY}).keys_file is None

"""``taximeter key``: the virtual keys of the gateway."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import click
import msgspec

from taximeter.cli.lines import dump
from taximeter.cli.options import json_option, moment, pairs, store_option

if TYPE_CHECKING:
    from taximeter.store.keys import Grants, KeyRecord

_CommandT = TypeVar("_CommandT", bound=Callable[..., object])

_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?")
_DURATION: Final = re.compile(r"(\d{1,6})\s*([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class KeyLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as ``--json`` writes it.

    Attributes:
        state: ``active``, ``expired`` or ``revoked``.
        key: the key itself, only where it has just been made.
    """

    id: str
    name: str
    state: str
    created_at: datetime
    key: str | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    old_until: datetime | None = None
    last_used_at: datetime | None = None
    project: str | None = None
    user: str | None = None
    tags: Mapping[str, str] = {}
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    cost_in_usage: bool | None = None

    @classmethod
    def of(cls, record: KeyRecord, key: str | None = None) -> KeyLine:
        """The JSON of a key."""
        grants = record.grants
        return cls(
            id=record.id,
            name=record.name,
            state=record.state(datetime.now(UTC)),
            created_at=record.created_at,
            key=key,
            expires_at=record.expires_at,
            revoked_at=record.revoked_at,
            old_until=record.old_until,
            last_used_at=record.last_used_at,
            project=grants.project,
            user=grants.user,
            tags=dict(grants.tags),
            models=grants.models,
            providers=grants.providers,
            allow=grants.allow,
            cost_in_usage=grants.cost_in_usage,
        )


def _config_option(command: _CommandT) -> _CommandT:
    text = "The gateway's configuration. Default: TAXIMETER_CONFIG, else taximeter.toml here."
    return click.option("--config", "config_path", metavar="FILE", help=text)(command)


@click.group(
    short_help="Make, list, revoke and rotate the gateway's virtual keys.",
    epilog="\b\nExamples:\n  taximeter key create shop --project shop\n  taximeter key list --json\n"
    "  taximeter key revoke shop",
)
def key() -> None:
    """The virtual keys of the gateway: what clients send in place of a provider's key.

    A key is shown once, when it is made; the store keeps a keyed hash of it. A gateway that runs takes notice of a
    change within two seconds.
    """


@key.command(
    short_help="Make a key and show it, once.",
    epilog="\b\nExamples:\n  taximeter key create shop --project shop --tag team=web\n"
    "  taximeter key create ci --model 'gpt-5-mini*' --provider openai --days 30",
)
@click.argument("name")
@click.option("--project", help="Its calls are of this project, whatever a header says.")
@click.option("--user", help="Its calls are of this user.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Its calls have this tag.")
@click.option("--model", "models", multiple=True, metavar="GLOB", help="It may ask for these models only.")
@click.option("--provider", "providers", multiple=True, metavar="UPSTREAM", help="It may call these upstreams only.")
@click.option("--allow", multiple=True, metavar="WHAT", help="It opens this too: batches, files, stored_responses …")
@click.option("--expires", metavar="ISO", help="Until this date or time.")
@click.option("--days", type=click.IntRange(1, 36_500), help="For so many days.")
@click.option("--cost-in-usage/--no-cost-in-usage", default=None, help="Whether its answers tell their cost.")
@_config_option
@store_option
@json_option
def create(
    name: str,
    project: str | None,
    user: str | None,
    tags: tuple[str, ...],
    models: tuple[str, ...],
    providers: tuple[str, ...],
    allow: tuple[str, ...],
    expires: str | None,
    days: int | None,
    config_path: str | None,
    store_url: str | None,
    *,
    cost_in_usage: bool | None,
    as_json: bool,
) -> None:
    """Make a key called NAME. Standard output has the key and nothing else; it is not shown again."""
    from taximeter.gateway.config import load
    from taximeter.gateway.keys import hash_key, mint, new_key_id
    from taximeter.gateway.paths import ALLOWABLE
    from taximeter.gateway.secrets import Variables, key_secret
    from taximeter.gateway.upstreams import KINDS
    from taximeter.store.keys import Grants, KeyStore, new_record

    if _NAME.fullmatch(name) is None:
        msg = f"{name!r}: a name is up to 64 characters in one line, and does not begin or end with a blank"
        raise click.BadParameter(msg, param_hint="NAME")
    config = load(config_path)
    _check(allow, ALLOWABLE, "--allow")
    _check(providers, {**KINDS, **config.upstreams}, "--provider")
    grants = Grants(
        project=project,
        user=user,
        tags=tuple(pairs(tags, "--tag").items()),
        models=models,
        providers=providers,
        allow=allow,
        cost_in_usage=cost_in_usage,
    )
    ends = _end(expires, days)
    made = mint()
    with KeyStore(store_url) as store:
        secret = key_secret(store.path, Variables(file=config.gateway.secrets_file))
        record = new_record(name, new_key_id(), hash_key(secret, made), grants, expires_at=ends)
        store.create(record)
    _show_once(record, made, as_json=as_json)


@key.command(name="list", short_help="List the keys, without the keys themselves.")
@click.option("--all", "everything", is_flag=True, help="Those that are revoked or expired too.")
@store_option
@json_option
def list_(store_url: str | None, *, everything: bool, as_json: bool) -> None:
    """List the keys: what they are bound to, and when they were used last, give or take a minute."""
    from taximeter.cli.terminal import console, plain, table
    from taximeter.store.keys import KeyStore

    with KeyStore(store_url) as store:
        _, records = store.read()
    now = datetime.now(UTC)
    shown = [record for record in records if everything or record.state(now) == "active"]
    if as_json:
        for record in shown:
            click.echo(dump(KeyLine.of(record)))
        return
    listed = table(f"{len(shown)} keys", ("id", "name", "state", "bound to", "may", "last used", "expires"))
    for record in shown:
        ends = [_day(record.last_used_at), _day(record.expires_at)]
        state = record.state(now)
        listed.add_row(
            record.id, plain(record.name), state, plain(_bound(record.grants)), plain(_may(record.grants)), *ends
        )
    console().print(listed)


@key.command(short_help="End a key, at once and for good.")
@click.argument("name", metavar="KEY")
@store_option
@json_option
def revoke(name: str, store_url: str | None, *, as_json: bool) -> None:
    """End the key with this id or name. A gateway that runs refuses it within two seconds; calls under way go on."""
    from taximeter.store.keys import KeyStore

    with KeyStore(store_url) as store:
        record = store.revoke(name, now=datetime.now(UTC))
    click.echo(dump(KeyLine.of(record)) if as_json else f"{record.name} ({record.id}) is revoked")


@key.command(short_help="Give a key a new secret; the old one is taken for a while still.")
@click.argument("name", metavar="KEY")
@click.option(
    "--grace", default="24h", show_default=True, help="How long the old one is taken: 30m, 24h, 7d; 0s for a leak."
)
@_config_option
@store_option
@json_option
def rotate(name: str, grace: str, config_path: str | None, store_url: str | None, *, as_json: bool) -> None:
    """Give the key with this id or name a new secret, and show it, once. What it may do stays as it is."""
    from taximeter.gateway.config import load
    from taximeter.gateway.keys import hash_key, mint
    from taximeter.gateway.secrets import Variables, key_secret
    from taximeter.store.keys import KeyStore

    said = _DURATION.fullmatch(grace.strip())
    if said is None:
        msg = f"{grace!r} is no duration; write 30m, 24h or 7d"
        raise click.BadParameter(msg, param_hint="--grace")
    config = load(config_path)
    made = mint()
    with KeyStore(store_url) as store:
        secret = key_secret(store.path, Variables(file=config.gateway.secrets_file))
        length = timedelta(**{_UNITS[said[2]]: int(said[1])})
        record = store.rotate(name, hashed=hash_key(secret, made), now=datetime.now(UTC), grace=length)
    _show_once(record, made, as_json=as_json)


def _show_once(record: KeyRecord, made: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(dump(KeyLine.of(record, made)))
        return
    click.echo(made)
    old = "" if record.old_until is None else f"; the old one is taken until {record.old_until:%Y-%m-%d %H:%M} UTC"
    click.echo(f"{record.name} ({record.id}): keep it, it is not shown again{old}", err=True)


def _check(given: tuple[str, ...], known: Mapping[str, object], option: str) -> None:
    for word in given:
        if word not in known:
            near = difflib.get_close_matches(word, list(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            msg = f"there is no {word!r}; {hint}"
            raise click.BadParameter(msg, param_hint=option)


def _end(expires: str | None, days: int | None) -> datetime | None:
    if expires is not None and days is not None:
        msg = "say --expires or --days, not both"
        raise click.UsageError(msg)
    now = datetime.now(UTC)
    ends = now + timedelta(days=days) if days is not None else moment(expires, "--expires")
    if ends is not None and ends <= now:
        msg = f"{expires} is over already"
        raise click.BadParameter(msg, param_hint="--expires")
    return ends


def _bound(grants: Grants) -> str:
    said = [f"{name} {value}" for name, value in (("project", grants.project), ("user", grants.user)) if value]
    return ", ".join((*said, *(f"{name}={value}" for name, value in grants.tags)))


def _may(grants: Grants) -> str:
    said = (*grants.models, *(f"{name}/" for name in grants.providers), *(f"+{what}" for what in grants.allow))
    return " ".join(said) or "any model"


def _day(moment_: datetime | None) -> str:
    return "–" if moment_ is None else f"{moment_:%Y-%m-%d %H:%M}"

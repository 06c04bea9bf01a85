"""What clients send. Unknown fields are refused: a role in a registration is an attack or a mistake, never ignored."""
# ruff: noqa: TC001 - pydantic reads annotations at run time

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.models import Role
from app.services.password_rules import MAX_CHARACTERS, MIN_CHARACTERS, objection

USERNAME = r"^[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])$"
# The form that browsers accept (HTML), with a dot in the domain; only ASCII, so that one address has one spelling.
EMAIL = (
    r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$"
)
PRINTABLE_ASCII = r"^[!-~]+$"
# PostgreSQL keeps no NUL, and a title is one line without blanks around it.
TITLE = r"^[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$"
NO_NUL = r"^[^\x00]*$"

Password = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
Code = Annotated[
    str,
    Field(
        min_length=6,
        max_length=32,
        description="Six digits from the authenticator, or a recovery code.",
    ),
]
Token = Annotated[str, Field(min_length=1, max_length=1024, pattern=PRINTABLE_ASCII)]


class Body(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Registration(Body):
    """Who wants an account."""

    username: Annotated[str, Field(pattern=USERNAME, max_length=32, examples=["quiet-harbour"])]
    email: Annotated[
        str,
        Field(pattern=EMAIL, max_length=254, examples=["quiet-harbour@socialflow.example"]),
    ]
    password: Annotated[
        str,
        Field(
            min_length=MIN_CHARACTERS,
            max_length=MAX_CHARACTERS,
            description="Common passwords and those that contain the user name are refused.",
            examples=["nine copper kettles"],
        ),
    ]

    @model_validator(mode="after")
    def _refuse_weak_password(self) -> Self:
        refusal = objection(self.password, self.username)
        if refusal is not None:
            raise ValueError(refusal)
        return self


class Login(Body):
    """A password, and the code at once if the account asks for one."""

    username: Annotated[
        str,
        Field(
            min_length=1,
            max_length=254,
            pattern=PRINTABLE_ASCII,
            description="The user name or the e-mail address.",
            examples=["visitor-00"],
        ),
    ]
    password: Annotated[Password, Field(examples=["socialflow-demo-password"])]
    code: Annotated[Code | None, Field(examples=["123456"])] = None


class ChallengeAnswer(Body):
    """The second step of a login."""

    challenge: Annotated[Token, Field(examples=["eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"])]
    code: Annotated[Code, Field(examples=["123456"])]


class RefreshRequest(Body):
    """A refresh token, which is worth nothing afterwards."""

    refresh_token: Annotated[Token, Field(examples=["p3yZ0cVb0mJc5bVYcQ0m3sO7m2Yq0G8b9yqvF4wWmXE"])]


class EnrolmentRequest(Body):
    """The password again: a stolen access token must not lock its owner out."""

    password: Annotated[Password, Field(examples=["socialflow-demo-password"])]


class Confirmation(Body):
    """The first code of an authenticator."""

    code: Annotated[Code, Field(examples=["123456"])]


class Disabling(Body):
    """Password and code."""

    password: Annotated[Password, Field(examples=["socialflow-demo-password"])]
    code: Annotated[Code, Field(examples=["123456"])]


class RoleChange(Body):
    """The role that an account is to have."""

    role: Annotated[Role, Field(examples=["creator"])]


class VideoChange(Body):
    """What of a video is to change; what is absent stays."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        json_schema_extra={"minProperties": 1},
    )

    title: Annotated[str, Field(max_length=200, pattern=TITLE, examples=["The night tram"])] = ""
    description: Annotated[
        str, Field(max_length=5000, pattern=NO_NUL, examples=["Filmed in one evening."])
    ] = ""

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one field to change: title or description")
        return self

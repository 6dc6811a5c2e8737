-- The ledger of one oracle: numbered records without gaps, of which none is ever changed or taken away.
-- The database itself keeps the rules: a mistake in a program, or a hand at a prompt, meets them too.

create table oracle (
    single boolean primary key default true check (single),
    key    bytea not null check (length(key) = 32)
);

-- Who may write. Each change of writer raises the token: what an earlier writer still sends is refused by its number.
-- Times are this database's own, so the replicas' clocks do not matter.
create table lease (
    single boolean primary key default true check (single),
    holder text not null default '',
    token  bigint not null default 0,
    until  timestamptz not null default '-infinity',
    seen   bigint not null default 0
);
insert into lease default values;

create table record (
    number  bigint primary key check (number >= 0),
    kind    smallint not null check (kind in (1, 2, 3)), -- 1 low, 2 fixing, 3 frozen
    at      bigint not null check (at between 0 and 4294967295),
    cents   bigint not null check (cents >= 0),
    sum     bigint not null,
    token   bigint not null,
    written timestamptz not null default clock_timestamp()
);
create unique index fixing_once on record (at) where kind = 2;
create index record_kind on record (kind, at, cents);

create function record_follows() returns trigger language plpgsql as $$
declare
    frozen bigint;
begin
    if new.number <> (select coalesce(max(number) + 1, 0) from record) then
        raise exception 'record % leaves a gap', new.number using errcode = 'HY003';
    end if;
    select coalesce(max(at), 0) into frozen from record where kind = 3;
    if (new.kind = 3 and new.at <= frozen)
        or (new.kind = 2 and new.at <= frozen)
        or (new.kind = 1 and new.at + 3600 <= frozen)
        or (new.kind <> 3 and (new.at % 3600 <> 0 or new.cents = 0))
        or (new.kind = 1 and exists (select from record where kind = 1 and at = new.at and cents <= new.cents))
        or (new.kind = 2 and exists (select from record where kind = 2 and at = new.at))
    then
        raise exception 'record % (kind %, at %) contradicts what has been said', new.number, new.kind, new.at
            using errcode = 'HY003';
    end if;
    return new;
end $$;
create trigger record_follows before insert on record for each row execute function record_follows();

create function record_stays() returns trigger language plpgsql as $$
begin
    raise exception 'what has been said is never changed or deleted' using errcode = 'HY003';
end $$;
create trigger record_stays before update or delete on record for each row execute function record_stays();
create trigger record_stays_all before truncate on record for each statement execute function record_stays();

-- Takes the lease when nobody has it: the new token, or null.
create function take_lease(new_holder text, ttl_ms integer) returns bigint language plpgsql as $$
declare
    mine bigint;
begin
    update lease
        set holder = new_holder, token = token + 1, until = clock_timestamp() + ttl_ms * interval '1 millisecond'
        where until <= clock_timestamp()
        returning token into mine;
    return mine;
end $$;

-- Appends records, all or none, if the lease is still the caller's and `next` is the number that follows; renews the
-- lease. One statement, one transaction: a caller that is stopped in the middle can hold nothing up.
create function say(
    my_token bigint, ttl_ms integer, my_clock bigint, next bigint,
    kinds smallint[], ats bigint[], all_cents bigint[], sums bigint[]
) returns text language plpgsql as $$
declare
    held lease%rowtype;
    ours bigint;
    done bigint;
begin
    select * into strict held from lease for update;
    if held.token <> my_token or held.until <= clock_timestamp() then
        return 'fenced';
    end if;
    select coalesce(max(number) + 1, 0) into ours from record;
    if ours <> next then
        return case when ours < next then 'lost' else 'behind' end;
    end if;
    insert into record (number, kind, at, cents, sum, token)
        select next + i - 1, kinds[i], ats[i], all_cents[i], sums[i], my_token
        from generate_subscripts(kinds, 1) as i order by i
        on conflict do nothing;
    get diagnostics done = row_count;
    if done <> cardinality(kinds) then
        raise exception 'a record was there already' using errcode = 'HY003';
    end if;
    update lease set until = clock_timestamp() + ttl_ms * interval '1 millisecond', seen = greatest(seen, my_clock);
    return 'said';
end $$;

#include "table.h"

Record *table_find(const Table *table, const Call *call) {
    if (table->n_records == 0)
        return NULL;
    Record *record = table->buckets[call->hash & (uint64_t)(table->n_buckets - 1)];
    while (record != NULL && !record_is(record, call))
        record = record->next;
    return record;
}

static void drop_oldest(Table *table) {
    Record *record = table->oldest;
    Record **link = &table->buckets[record->hash & (uint64_t)(table->n_buckets - 1)];
    while (*link != record)
        link = &(*link)->next;
    *link = record->next;
    table->oldest = record->younger;
    if (table->oldest == NULL)
        table->youngest = NULL;
    table->n_records--;
    record_release(record);
}

static int grow(Table *table) {
    if (table->n_records < table->n_buckets)
        return 0;
    Py_ssize_t n = table->n_buckets == 0 ? 8 : 2 * table->n_buckets;
    Record **buckets = PyMem_Calloc((size_t)n, sizeof *buckets);
    if (buckets == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Record *record = table->oldest; record != NULL; record = record->younger) {
        Record **bucket = &buckets[record->hash & (uint64_t)(n - 1)];
        record->next = *bucket;
        *bucket = record;
    }
    PyMem_Free(table->buckets);
    table->buckets = buckets;
    table->n_buckets = n;
    return 0;
}

int table_add(Table *table, Record *record) {
    if (grow(table) < 0) {
        record_release(record);
        return -1;
    }
    Record **bucket = &table->buckets[record->hash & (uint64_t)(table->n_buckets - 1)];
    record->next = *bucket;
    *bucket = record;
    if (table->youngest == NULL)
        table->oldest = record;
    else
        table->youngest->younger = record;
    table->youngest = record;
    if (++table->n_records > MAX_RECORDS)
        drop_oldest(table);
    return 0;
}

void table_clear(Table *table) {
    while (table->oldest != NULL)
        drop_oldest(table);
    PyMem_Free(table->buckets);
    table->buckets = NULL;
    table->n_buckets = 0;
}

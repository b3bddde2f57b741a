# Removes what only the build needed, with everything that came along for it; the base's own packages stay.

remove=()
for package in ${build_packages[@]+"${build_packages[@]}"}; do
    name=${package%%/*}
    if ! grep -qE "^${name//+/\\+}(:[a-z0-9]+)?$" "$BAKE/base-packages"; then
        remove+=("$name")
    fi
done
if [ ${#remove[@]} -gt 0 ]; then
    xargs -r apt-mark manual < "$BAKE/base-packages" > /dev/null
    # A package that another one merely recommends goes as well: a compiler, recommended by Open MPI.
    apt-get purge -y -q --autoremove -o APT::AutoRemove::RecommendsImportant=false \
        -o APT::AutoRemove::SuggestsImportant=false "${remove[@]}"
    xargs -r apt-mark auto < "$BAKE/base-auto" > /dev/null
fi
